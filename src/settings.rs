//! The settings of a deployment: variables and secrets, which an isolate reads once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use headwater_core::auth::claims::{Claim, Policy};
use headwater_core::batch::BatchLimits;
use headwater_core::budget::BudgetLimits;
use headwater_core::log::{MAX_SHARDS, UpstreamUrl};
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
pub(crate) const SEQUENCER_BINDING: &str = "SEQUENCER";

/// The name of the rate limiter's binding. A deployment may lack it.
pub(crate) const RATE_LIMITER_BINDING: &str = "RATE_LIMITER";

/// The name of the binding of Workers Analytics Engine. A deployment may lack it.
pub(crate) const ANALYTICS_BINDING: &str = "ANALYTICS";

/// The name of the binding of the inspector's files. [`Settings::inspector`] needs it.
pub(crate) const ASSETS_BINDING: &str = "ASSETS";

/// The name of the binding of the R2 bucket for the older parts of built-in logs. A deployment may lack it.
pub(crate) const LOG_BUCKET_BINDING: &str = "LOG_BUCKET";

/// The longest row of a built-in log. A Durable Object's row holds at most 2 MB. No batch may be longer, so that every
/// row ends with a message.
pub(crate) const MAX_ROW: usize = 3 << 19;

/// The settings of the Worker.
pub(crate) struct Settings {
    /// `MAX_BATCH_EVENTS` (default 100), `MAX_BATCH_BYTES` and `MAX_EVENT_BYTES` (default 1 MiB).
    pub(crate) limits: BatchLimits,
    /// `MAX_NAME_BYTES` (default and maximum 4,096): the longest name of a tenant or a store.
    pub(crate) max_name: usize,
    /// `MAX_IN_FLIGHT` (default 256) and `MAX_IN_FLIGHT_BYTES` (default 32 MiB): see [`in_flight`].
    pub(crate) in_flight: BudgetLimits,
    /// `SEGMENT_BYTES` and `SEGMENT_EVENTS`: see [`sequencer_limits`].
    pub(crate) segment: SegmentSize,
    /// `BODY_TIMEOUT_MS` (default 30,000): how long a body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// `ALLOWED_ORIGINS` (default `*`): the origins that a browser may call from.
    pub(crate) allowed_origins: Origins,
    /// `ALLOWED_HEADERS` (default none): more headers that a browser may send.
    pub(crate) allowed_headers: Vec<String>,
    /// `LOG_REQUESTS` (default `all`): which requests get a line in the log.
    pub(crate) log_requests: LogRequests,
    /// `INSPECTOR` (default `off`).
    pub(crate) inspector: bool,
    /// `AUTH_MODE`
    pub(crate) auth: Auth,
    pub(crate) upstream: UpstreamSettings,
}

/// How requests are authenticated.
pub(crate) enum Auth {
    /// `none`: every request has access. Only local hosts are served, unless `ALLOW_INSECURE=true`.
    Open {
        /// `ALLOW_INSECURE`
        to_every_host: bool,
    },
    /// `jwt`: each request needs a token.
    Jwt(Box<Jwt>),
}

/// How tokens are checked.
pub(crate) struct Jwt {
    /// `JWT_SECRET` (a secret), for HS256.
    pub(crate) secret: Option<String>,
    /// `JWT_JWKS`: those of the issuer's public keys that can be used; else `undefined`.
    pub(crate) jwks: JsValue,
    /// `JWT_JWKS_URL`: where the issuer publishes its keys.
    pub(crate) jwks_url: Option<String>,
    /// `JWT_HEADER` (default `authorization`), in lower case.
    pub(crate) header: String,
    /// `JWT_ISSUER` and `JWT_AUDIENCE`. For tenant, stores and scope: the claim's name (`JWT_TENANT_CLAIM` …), and the
    /// value for tokens without that claim (`JWT_TENANT` …).
    pub(crate) policy: Policy,
}

/// The settings of the upstream.
#[derive(Clone)]
pub(crate) struct UpstreamSettings {
    /// `UPSTREAM_URL`; `None` if the log is built in.
    pub(crate) url: Option<UpstreamUrl>,
    /// `UPSTREAM_TOKEN` (a secret): the bearer token for the upstream.
    pub(crate) token: Option<String>,
    /// `UPSTREAM_TIMEOUT_MS` (default 10,000): how long the upstream may take for the head of an answer, and for each chunk
    /// of its body.
    pub(crate) timeout: Duration,
    /// `MAX_LOG_BYTES` (default 9.9 GB): the most bytes that a Sequencer's storage may hold if the log is built in.
    pub(crate) max_log_bytes: u64,
}

/// The origins that a browser may call from.
pub(crate) enum Origins {
    Any,
    Listed(Vec<String>),
}

impl Origins {
    /// Whether the list names this origin.
    pub(crate) fn name(&self, origin: &str) -> bool {
        matches!(self, Self::Listed(origins) if origins.iter().any(|one| one == origin))
    }
}

impl Settings {
    /// The settings, which are read once: an isolate has one environment. A problem names the setting that is wrong.
    pub(crate) fn of(env: &Env) -> Result<Rc<Self>, Problem> {
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
        // The Sequencer reads its limits itself, but only the Worker can report a mistake.
        let queue = sequencer_limits(vars)?;
        let max_name = table::MAX_NAME_BYTES.number(vars)?;
        let limits = BatchLimits {
            events: table::MAX_BATCH_EVENTS.number(vars)?,
            bytes: table::MAX_BATCH_BYTES.number(vars)?,
            event_bytes: table::MAX_EVENT_BYTES.number(vars)?,
        };
        let largest = usize::try_from(queue.queue_bytes / 4).unwrap_or(usize::MAX);
        if limits.bytes > largest {
            let detail =
                format!("may be at most a quarter of MAX_IN_FLIGHT_BYTES, which is {largest}.");
            return Err(table::MAX_BATCH_BYTES.wrong(&detail));
        }
        let upstream = UpstreamSettings::read(vars)?;
        if upstream.url.is_none() && limits.bytes > MAX_ROW {
            let detail = format!(
                "may be at most {MAX_ROW} without UPSTREAM_URL: each batch is then one row."
            );
            return Err(table::MAX_BATCH_BYTES.wrong(&detail));
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
            upstream,
        })
    }
}

impl Auth {
    /// The header that carries the token.
    pub(crate) fn header(&self) -> &str {
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

/// The shortest `JWT_SECRET`: as long as its hash (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

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
        if secret.as_ref().is_some_and(|secret| secret.len() < MIN_SECRET_BYTES) {
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
pub(crate) fn is_local(host: &str) -> bool {
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
    /// How long the Worker waits for the Sequencer. While the upstream fails, the Sequencer answers after its attempts, and
    /// each of them ends with the upstream's timeout. Longer work goes on: a long queue, or a history that is read for the
    /// first time. The caller finds that work done when it asks again.
    pub(crate) fn sequencer_timeout(&self) -> Duration {
        self.timeout * u32::from(SequencerLimits::default().attempts) + Duration::from_secs(5)
    }

    /// Reads the settings. A problem names the setting that is wrong.
    pub(crate) fn read(vars: &DeploymentVars<'_>) -> Result<Self, Problem> {
        let is_base = |url: &str| {
            let is_http = url.starts_with("http://") || url.starts_with("https://");
            is_http && !Target::of(url).host.is_empty() && !url.contains(['@', '?', '#', ' '])
        };
        let url = match table::UPSTREAM_URL.text(vars) {
            None => None,
            Some(text) if !is_base(&text) => {
                let detail = "must be the http(s) URL of a Durable Streams server, without a query or credentials \
                            (those go into UPSTREAM_TOKEN).";
                return Err(table::UPSTREAM_URL.wrong(detail));
            }
            Some(text) => Some(UpstreamUrl::read(&text).ok_or_else(|| {
                let detail = format!(
                    "may have braces only as {{shard:N}}, once, with N from 2 to {MAX_SHARDS}."
                );
                table::UPSTREAM_URL.wrong(&detail)
            })?),
        };
        Ok(Self {
            url,
            token: table::UPSTREAM_TOKEN.text(vars),
            timeout: Duration::from_millis(table::UPSTREAM_TIMEOUT_MS.number(vars)?),
            max_log_bytes: table::MAX_LOG_BYTES.number(vars)?,
        })
    }
}

/// The limits of a Sequencer: `SEGMENT_BYTES` (default 1 MiB, at most 4), `SEGMENT_EVENTS` (default 10,000),
/// `MAX_IN_FLIGHT` (default 256) and `MAX_IN_FLIGHT_BYTES` (default 32 MiB).
pub(crate) fn sequencer_limits(vars: &DeploymentVars<'_>) -> Result<SequencerLimits, Problem> {
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

/// How much the isolate may hold of pushes that arrive or wait in a Sequencer: `MAX_IN_FLIGHT` of one store, eight times as
/// many of all stores, and `MAX_IN_FLIGHT_BYTES` together.
pub(crate) fn in_flight(
    SequencerLimits { queue, queue_bytes, .. }: SequencerLimits,
) -> BudgetLimits {
    BudgetLimits { own_leases: queue, leases: queue.saturating_mul(8), bytes: queue_bytes }
}

/// `INSPECTOR`. The Sequencer reads it too, because it counts pushes only for an inspector.
pub(crate) fn inspector(vars: &DeploymentVars<'_>) -> Result<bool, Problem> {
    Ok(table::INSPECTOR.one_of(vars)? == "on")
}

fn origins(listed: Option<String>) -> Origins {
    match listed.as_deref().map(str::trim) {
        None | Some("*") => Origins::Any,
        Some(list) => Origins::Listed(
            list.split(',').map(|origin| origin.trim().trim_end_matches('/').to_string()).collect(),
        ),
    }
}

fn log_requests(vars: &DeploymentVars<'_>) -> Result<LogRequests, Problem> {
    let name = table::LOG_REQUESTS.one_of(vars)?;
    LogRequests::named(name).ok_or_else(|| table::LOG_REQUESTS.wrong("has no meaning."))
}

/// The variables and secrets of the deployment.
pub(crate) struct DeploymentVars<'e>(pub(crate) &'e Env);

impl Variables for DeploymentVars<'_> {
    /// Not `Env::var`: plain workerd gives null for a variable that the environment lacks, and `Env::var` throws on it.
    fn get(&self, name: &str) -> Option<String> {
        Reflect::get(self.0, &name.into()).ok()?.as_string()
    }
}
