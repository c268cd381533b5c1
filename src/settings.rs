//! What a deployment can set: variables and secrets of wrangler.toml, read once an isolate.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use headwater_core::auth::claims::{Claim, Policy};
use headwater_core::batch::BatchLimits;
use headwater_core::budget::BudgetLimits;
use headwater_core::problem::Problem;
use headwater_core::request_log::LogRequests;
use headwater_core::route::Target;
use headwater_core::segments::plan::SegmentSize;
use headwater_core::sequencer::SequencerLimits;
use headwater_core::settings::{self as table, Setting, Variables};
use worker::Env;
use worker::js_sys::Reflect;
use worker::wasm_bindgen::JsValue;

use crate::signature;

/// The name of the Durable Object binding.
pub const SEQUENCER_BINDING: &str = "SEQUENCER";

/// The name of the rate limiter's binding, which a deployment may have.
pub const RATE_LIMITER_BINDING: &str = "RATE_LIMITER";

/// The name of the binding of Workers Analytics Engine, which a deployment may have.
pub const ANALYTICS_BINDING: &str = "ANALYTICS";

/// The name of the binding of the inspector's files: [`Settings::inspector`].
pub const ASSETS_BINDING: &str = "ASSETS";

/// The settings of the Worker. Those of the upstream are in [`UpstreamSettings`].
pub struct Settings {
    /// `MAX_BATCH_EVENTS` (default 100), `MAX_BATCH_BYTES` and `MAX_EVENT_BYTES` (default 1 MiB).
    pub limits: BatchLimits,
    /// `MAX_NAME_BYTES` (default and at most 4,096): of a tenant's and of a store's name.
    pub max_name: usize,
    /// `MAX_IN_FLIGHT` (default 256) pushes of one store, eight times as many of all stores, and of them
    /// `MAX_IN_FLIGHT_BYTES` (default 32 MiB): those that are arriving in this isolate, and those that wait in its Sequencers.
    pub in_flight: BudgetLimits,
    /// `SEGMENT_BYTES`, `SEGMENT_EVENTS`: [`sequencer_limits`].
    pub segment: SegmentSize,
    /// `BODY_TIMEOUT_MS` (default 30,000): how long a body may take to arrive.
    pub body_timeout: Duration,
    /// `ALLOWED_ORIGINS` (default `*`): origins a browser may call from, separated by commas.
    pub allowed_origins: Origins,
    /// `ALLOWED_HEADERS` (default none): headers that a browser may send besides those that are always allowed.
    pub allowed_headers: Vec<String>,
    /// `LOG_REQUESTS` (default `all`): which requests get a line in the log.
    pub log_requests: LogRequests,
    /// `INSPECTOR` (default `off`): whether there is an inspector.
    pub inspector: bool,
    /// `AUTH_MODE`
    pub auth: Auth,
    /// The log's server.
    pub upstream: UpstreamSettings,
}

/// Who may come in.
pub enum Auth {
    /// `none`: everybody, from local hosts only unless `ALLOW_INSECURE=true`.
    Open {
        /// `ALLOW_INSECURE`
        to_every_host: bool,
    },
    /// `jwt`: who has a token.
    Jwt(Box<Jwt>),
}

/// How tokens are judged.
pub struct Jwt {
    /// `JWT_SECRET` (a secret), for HS256.
    pub secret: Option<String>,
    /// `JWT_JWKS`: the issuer's public keys, as far as they can be used; else `undefined`.
    pub jwks: JsValue,
    /// `JWT_JWKS_URL`: where the issuer publishes them.
    pub jwks_url: Option<String>,
    /// `JWT_HEADER` (default `authorization`), in lower case.
    pub header: String,
    /// `JWT_ISSUER`, `JWT_AUDIENCE`, and for tenant, stores and scope `JWT_TENANT_CLAIM` and so on, the
    /// claims' names, and `JWT_TENANT` and so on, what holds where a token lacks them.
    pub policy: Policy,
}

/// Where the log is.
#[derive(Clone)]
pub struct UpstreamSettings {
    /// `UPSTREAM_URL`, without a slash at its end.
    pub url: String,
    /// `UPSTREAM_TOKEN` (a secret): sent upstream as a bearer token.
    pub token: Option<String>,
    /// `UPSTREAM_TIMEOUT_MS` (default 10,000): how long the upstream may take to answer, and may
    /// pause inside an answer.
    pub timeout: Duration,
}

/// The origins that a browser may call from.
pub enum Origins {
    /// Any.
    Any,
    /// These.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether this one is listed by its name.
    pub fn name(&self, origin: &str) -> bool {
        matches!(self, Self::Listed(origins) if origins.iter().any(|one| one == origin))
    }
}

impl Settings {
    /// The settings; the problem names the one that is wrong. They are read once: an isolate has one environment.
    pub fn of(env: &Env) -> Result<Rc<Self>, Problem> {
        thread_local! {
            static READ: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
        }
        if let Some(settings) = READ.with_borrow(Clone::clone) {
            return Ok(settings);
        }
        let settings = Rc::new(Self::read(&DeploymentVars(env))?);
        READ.set(Some(settings.clone()));
        Ok(settings)
    }

    fn read(vars: &DeploymentVars<'_>) -> Result<Self, Problem> {
        let queue = sequencer_limits(vars)?; // the Sequencer's, but it is here that a mistake can be told
        let max_name = table::MAX_NAME_BYTES.number(vars)?;
        let limits = BatchLimits {
            events: table::MAX_BATCH_EVENTS.number(vars)?,
            bytes: table::MAX_BATCH_BYTES.number(vars)?,
            event_bytes: table::MAX_EVENT_BYTES.number(vars)?,
        };
        let largest = usize::try_from(queue.queue_bytes / 4).unwrap_or(usize::MAX);
        if limits.bytes > largest {
            let what =
                format!("may be a quarter of MAX_IN_FLIGHT_BYTES at most, which is {largest}.");
            return Err(table::MAX_BATCH_BYTES.wrong(&what));
        }
        Ok(Self {
            limits,
            max_name,
            in_flight: in_flight(queue),
            segment: queue.segment,
            body_timeout: Duration::from_millis(table::BODY_TIMEOUT_MS.number(vars)?),
            allowed_origins: origins(table::ALLOWED_ORIGINS.text(vars)),
            allowed_headers: allowed_headers(vars)?,
            log_requests: log_requests(vars)?,
            inspector: inspector(vars)?,
            auth: Auth::read(vars)?,
            upstream: UpstreamSettings::read(vars)?,
        })
    }
}

impl Auth {
    /// The header that tokens come in.
    pub fn header(&self) -> &str {
        match self {
            Self::Open { .. } => "authorization",
            Self::Jwt(jwt) => &jwt.header,
        }
    }

    fn read(vars: &DeploymentVars<'_>) -> Result<Self, Problem> {
        match table::AUTH_MODE.one_of(vars)? {
            "jwt" => Ok(Self::Jwt(Box::new(Jwt::read(vars)?))),
            _ => Ok(Self::Open {
                to_every_host: table::ALLOW_INSECURE.text(vars).as_deref() == Some("true"),
            }),
        }
    }
}

/// The shortest `JWT_SECRET` in bytes: that of its hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;

impl Jwt {
    fn read(vars: &DeploymentVars<'_>) -> Result<Self, Problem> {
        let (secret, jwks, jwks_url) = (
            table::JWT_SECRET.text(vars),
            table::JWT_JWKS.text(vars),
            table::JWT_JWKS_URL.text(vars),
        );
        if secret.is_none() && jwks.is_none() && jwks_url.is_none() {
            return Err(
                table::AUTH_MODE.wrong("is jwt, which needs JWT_SECRET, JWT_JWKS or JWT_JWKS_URL.")
            );
        }
        if secret.as_ref().is_some_and(|secret| secret.len() < MIN_SECRET) {
            return Err(table::JWT_SECRET.wrong("must have at least 32 bytes."));
        }
        let is_safe = |url: &String| {
            let host = Target::of(url).host;
            (url.starts_with("https://") && !host.is_empty())
                || (url.starts_with("http://") && is_local(host))
        };
        if jwks_url.as_ref().is_some_and(|url| !is_safe(url)) {
            return Err(table::JWT_JWKS_URL.wrong("must be an https URL."));
        }
        let usable = |json: String| {
            signature::usable_keys(&json)
                .map_err(|why| table::JWT_JWKS.wrong(&format!("{}.", String::from(why.message()))))
        };
        let jwks = jwks.map_or(Ok(JsValue::UNDEFINED), usable)?;
        let header = table::JWT_HEADER.text(vars).unwrap_or_default().to_ascii_lowercase();
        if !is_header_name(&header) {
            return Err(table::JWT_HEADER.wrong("must be the name of a header."));
        }
        let claim = |name: Setting, fallback: Setting| Claim {
            name: name.text(vars).unwrap_or_default(),
            fallback: fallback.text(vars),
        };
        let policy = Policy {
            issuers: table::JWT_ISSUER.list(vars)?,
            audiences: table::JWT_AUDIENCE.list(vars)?,
            tenant: claim(table::JWT_TENANT_CLAIM, table::JWT_TENANT),
            stores: claim(table::JWT_STORES_CLAIM, table::JWT_STORES),
            scope: claim(table::JWT_SCOPE_CLAIM, table::JWT_SCOPE),
        };
        Ok(Self { secret, jwks, jwks_url, header, policy })
    }
}

/// Whether a host is this machine.
pub fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
}

fn allowed_headers(vars: &DeploymentVars<'_>) -> Result<Vec<String>, Problem> {
    let names = table::ALLOWED_HEADERS.list(vars)?;
    match names.iter().find(|name| !is_header_name(name)) {
        None => Ok(names),
        Some(wrong) => Err(table::ALLOWED_HEADERS
            .wrong(&format!("has {wrong:?}, which is not the name of a header."))),
    }
}

fn is_header_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl UpstreamSettings {
    /// How long the Sequencer may take to answer. While the upstream fails it tells everyone after its attempts, each of
    /// which ends with the upstream's time-out. What takes longer, behind a long queue or a history that is read for the
    /// first time, it goes on with; the caller finds it done when it asks again.
    pub fn patience(&self) -> Duration {
        self.timeout * u32::from(SequencerLimits::default().attempts) + Duration::from_secs(5)
    }

    /// Reads the settings; the problem names the one that is wrong.
    pub fn read(vars: &DeploymentVars<'_>) -> Result<Self, Problem> {
        let is_base = |url: &String| {
            let is_http = url.starts_with("http://") || url.starts_with("https://");
            is_http && !Target::of(url).host.is_empty() && !url.contains(['@', '?', '#', ' '])
        };
        let url = table::UPSTREAM_URL.text(vars).filter(is_base);
        let url = url.ok_or_else(|| {
            let what = "must be the http(s) URL of a Durable Streams server, without a query or credentials \
                        (those go into UPSTREAM_TOKEN).";
            table::UPSTREAM_URL.wrong(what)
        })?;
        Ok(Self {
            url: url.trim_end_matches('/').to_string(),
            token: table::UPSTREAM_TOKEN.text(vars),
            timeout: Duration::from_millis(table::UPSTREAM_TIMEOUT_MS.number(vars)?),
        })
    }
}

/// What a Sequencer is set to: `SEGMENT_BYTES` (default 1 MiB, at most 4), `SEGMENT_EVENTS` (default 10,000),
/// `MAX_IN_FLIGHT` (default 256) and `MAX_IN_FLIGHT_BYTES` (default 32 MiB).
pub fn sequencer_limits(vars: &DeploymentVars<'_>) -> Result<SequencerLimits, Problem> {
    let segment = SegmentSize {
        bytes: table::SEGMENT_BYTES.number(vars)?,
        events: table::SEGMENT_EVENTS.number(vars)?,
    };
    let queue = table::MAX_IN_FLIGHT.number(vars)?;
    Ok(SequencerLimits {
        segment,
        queue,
        queue_bytes: table::MAX_IN_FLIGHT_BYTES.number(vars)?,
        ..SequencerLimits::default()
    })
}

/// How much the isolate may hold of pushes: so many of one store, eight times as many of all.
pub fn in_flight(SequencerLimits { queue, queue_bytes, .. }: SequencerLimits) -> BudgetLimits {
    BudgetLimits { own_leases: queue, leases: queue.saturating_mul(8), bytes: queue_bytes }
}

/// `INSPECTOR`, which the Sequencer needs too: it counts pushes only for an inspector.
pub fn inspector(vars: &DeploymentVars<'_>) -> Result<bool, Problem> {
    Ok(table::INSPECTOR.one_of(vars)? == "on")
}

fn origins(listed: Option<String>) -> Origins {
    match listed.as_deref().map(str::trim) {
        None | Some("*") => Origins::Any,
        Some(list) => Origins::Listed(
            list.split(',').map(|o| o.trim().trim_end_matches('/').to_string()).collect(),
        ),
    }
}

fn log_requests(vars: &DeploymentVars<'_>) -> Result<LogRequests, Problem> {
    let name = table::LOG_REQUESTS.one_of(vars)?;
    LogRequests::named(name).ok_or_else(|| table::LOG_REQUESTS.wrong("has no meaning."))
}

/// The variables and secrets of the deployment.
pub struct DeploymentVars<'e>(pub &'e Env);

impl Variables for DeploymentVars<'_> {
    /// Plain workerd gives null for a variable that its environment lacks (`Env::var` would throw).
    fn get(&self, name: &str) -> Option<String> {
        Reflect::get(self.0, &name.into()).ok()?.as_string()
    }
}
