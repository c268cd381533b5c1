//! The settings of a deployment, in one table. The Worker reads its settings by this table, and the documentation is made
//! of it.
//!
//! `core/tests/settings.rs` writes `docs/configuration.md`, `wrangler.toml` and `scripts/lib/settings.json`, and fails
//! while one of them is stale.

use std::str::FromStr;

use crate::names;
use crate::problem::Problem;
use crate::segments::plan::MAX_SEGMENT_BYTES;

/// One setting: a variable or secret of the deployment.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name of the variable or secret.
    pub name: &'static str,
    /// The value that applies without one of the deployment.
    pub default: Option<&'static str>,
    /// The values that the setting may have.
    pub values: Values,
}

/// The values that a setting may have.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Any text. The Worker may check more of it.
    Text,
    /// Any text that must stay secret.
    Secret,
    /// Texts that commas separate, none of them empty.
    List,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number from 1.
    Number {
        /// The largest number.
        at_most: Option<u64>,
    },
}

/// The source of a deployment's variables.
pub trait Variables {
    /// The value of a variable or secret. An empty value counts as none.
    fn get(&self, name: &str) -> Option<String>;
}

impl Setting {
    /// The value or the default.
    pub fn text(&self, variables: &impl Variables) -> Option<String> {
        variables
            .get(self.name)
            .filter(|value| !value.is_empty())
            .or_else(|| self.default.map(Into::into))
    }

    /// The members of a list, which is empty without a value. A value must name something, because an empty list admits
    /// everything.
    pub fn list(&self, variables: &impl Variables) -> Result<Vec<String>, Problem> {
        let Some(text) = self.text(variables) else { return Ok(Vec::new()) };
        let list: Vec<String> = text.split(',').map(|one| one.trim().to_string()).collect();
        if list.iter().any(String::is_empty) {
            return Err(self.wrong(&format!(
                "is {text:?}, but must be a list of values separated by commas, none of them empty."
            )));
        }
        Ok(list)
    }

    /// One of the values that the setting may have.
    pub fn one_of(&self, variables: &impl Variables) -> Result<&'static str, Problem> {
        let Values::OneOf(values) = self.values else { panic!("{} may be anything", self.name) };
        let value = self.text(variables).unwrap_or_default();
        values.iter().find(|one| **one == value).copied().ok_or_else(|| {
            let (last, others) = values.split_last().expect("a value");
            self.wrong(&format!("is {value:?}, but must be {} or {last}.", others.join(", ")))
        })
    }

    /// The number.
    pub fn number<N: FromStr + TryInto<u64> + Copy>(
        &self,
        variables: &impl Variables,
    ) -> Result<N, Problem> {
        let value = self.text(variables).unwrap_or_default();
        let number = value
            .parse::<N>()
            .ok()
            .and_then(|n| n.try_into().ok().filter(|n| *n >= 1).map(|as_u64| (n, as_u64)));
        let (number, as_u64) = number.ok_or_else(|| {
            self.wrong(&format!("is {value:?}, but must be a whole number, 1 or more."))
        })?;
        match self.values {
            Values::Number { at_most: Some(most) } if as_u64 > most => {
                Err(self.wrong(&format!("is {value:?}, but may be at most {most}.")))
            }
            _ => Ok(number),
        }
    }

    /// The problem of a wrong value. `why` follows the setting's name.
    pub fn wrong(&self, why: &str) -> Problem {
        Problem::misconfigured(self.name, why)
    }
}

const ANY: Values = Values::Number { at_most: None };

/// Makes a constant of each setting, and a table of all. The text of a setting is Markdown for docs/configuration.md.
macro_rules! settings {
    ($($table:ident: $about:literal { $($(#[doc = $docs:literal])+ $name:ident = $default:expr, $values:expr;)+ })+) => {
        $($($(#[doc = $docs])+ pub const $name: Setting =
            Setting { name: stringify!($name), default: $default, values: $values };)+)+
        $(
            #[doc = $about]
            pub const $table: &[(Setting, &str)] = &[$(($name, concat!($($docs),+))),+];
        )+
    };
}

settings! {
    WORKER: "The settings of every deployment, and what each means." {
        /// the URL of the Durable Streams server: with the path prefix, without query or credentials. A store's stream is
        /// `{UPSTREAM_URL}/{tenant}/{store}`, [names encoded](http-api.md#upstream). With `{shard:N}` in it, it names [N
        /// servers](deployment.md#several-servers). Without it, [the log is built in](built-in-log.md)
        UPSTREAM_URL = None, Values::Text;
        /// a secret: the bearer token for the upstream
        UPSTREAM_TOKEN = None, Values::Secret;
        /// how long the upstream may take to answer, and may pause inside an answer, in milliseconds. An append that takes
        /// longer has an unknown outcome; the Sequencer then reads the log to settle it
        UPSTREAM_TIMEOUT_MS = Some("10000"), ANY;
        /// the most bytes that a store may take while [the log is built in](built-in-log.md#limits). A Durable Object holds
        /// 10 GB
        MAX_LOG_BYTES = Some("9900000000"), ANY;
        /// `jwt` admits callers with [a token](security.md#tokens); `none` admits everyone, on local hosts only
        AUTH_MODE = Some("none"), Values::OneOf(&["none", "jwt"]);
        /// `true`: with `AUTH_MODE=none`, the Worker serves every host and page. Only for networks in which you trust
        /// everyone
        ALLOW_INSECURE = None, Values::Text;
        /// origins whose pages may call the Worker, separated by commas. With `AUTH_MODE=none`, pages that are not local
        /// must be named here
        ALLOWED_ORIGINS = Some("*"), Values::Text;
        /// further headers that a page may send, separated by commas. The headers that Headwater reads are always
        /// allowed. So are those of common tracing libraries (`traceparent`, `baggage`, `sentry-trace`, `b3`,
        /// `x-datadog-…` and others)
        ALLOWED_HEADERS = None, Values::List;
        /// the most events in one push
        MAX_BATCH_EVENTS = Some("100"), ANY;
        /// the most bytes in a push's body; at most a quarter of `MAX_IN_FLIGHT_BYTES`. The provider's `push.maxBatchBytes`
        /// must not be larger
        MAX_BATCH_BYTES = Some("1048576"), ANY;
        /// the most bytes in one event
        MAX_EVENT_BYTES = Some("1048576"), ANY;
        /// how long a push's body may take to arrive, in milliseconds
        BODY_TIMEOUT_MS = Some("30000"), ANY;
        /// the most bytes in the name of a tenant or a store; at most 4,096
        MAX_NAME_BYTES = Some("4096"), Values::Number { at_most: Some(names::MAX_NAME_BYTES as u64) };
        /// the most pushes of one store that may be under way in one isolate: arriving at the Worker, or waiting in a
        /// Sequencer. All stores together may have eight times as many
        MAX_IN_FLIGHT = Some("256"), ANY;
        /// the most bytes that the pushes of all stores may take in one isolate, which has 128 MB. A store that already has
        /// a push under way may hold at most a quarter of what is still free
        MAX_IN_FLIGHT_BYTES = Some("33554432"), ANY;
        /// a segment is sealed when it has this many bytes; at most 4 MiB
        SEGMENT_BYTES = Some("1048576"), Values::Number { at_most: Some(MAX_SEGMENT_BYTES / 2) };
        /// a segment is also sealed when it has this many events
        SEGMENT_EVENTS = Some("10000"), ANY;
        /// which requests have a line in [the log](monitoring.md#the-log): `all`, `errors` or `none`
        LOG_REQUESTS = Some("all"), Values::OneOf(&["all", "errors", "none"]);
        /// `on`: the Worker serves [the inspector](inspector.md)
        INSPECTOR = Some("off"), Values::OneOf(&["on", "off"]);
    }
    TOKENS: "The settings that apply with `AUTH_MODE=jwt`, and what each means." {
        /// a secret: the key for HS256, at least 32 bytes
        JWT_SECRET = None, Values::Secret;
        /// public keys, as a JSON Web Key Set
        JWT_JWKS = None, Values::Text;
        /// the URL of a published key set. At least one of these three must be set
        JWT_JWKS_URL = None, Values::Text;
        /// the header that carries the token
        JWT_HEADER = Some("authorization"), Values::Text;
        /// the accepted values of `iss`, separated by commas. Without it, any value is accepted
        JWT_ISSUER = None, Values::List;
        /// the accepted values of `aud`, separated by commas. Without it, any value is accepted
        JWT_AUDIENCE = None, Values::List;
        /// the claim that holds the tenant
        JWT_TENANT_CLAIM = Some("tenant"), Values::Text;
        /// the claim that holds the stores
        JWT_STORES_CLAIM = Some("stores"), Values::Text;
        /// the claim that holds the scopes
        JWT_SCOPE_CLAIM = Some("scope"), Values::Text;
        /// the tenant of tokens without that claim
        JWT_TENANT = None, Values::Text;
        /// the stores of tokens without that claim
        JWT_STORES = None, Values::Text;
        /// the scopes of tokens without that claim
        JWT_SCOPE = None, Values::Text;
    }
}
