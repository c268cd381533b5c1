//! What a deployment can set: variables and secrets of wrangler.toml, read once a request.

use std::str::FromStr;
use std::time::Duration;

use worker::Env;

use crate::batch;
use crate::problem::Problem;
use crate::sequencer::core::SegmentSize;
use crate::sequencer::plan::MAX_SEGMENT_BYTES;

/// The name of the Durable Object binding.
pub const SEQUENCER_BINDING: &str = "SEQUENCER";

/// The settings of the Worker. Those of the upstream are in [`UpstreamSettings`].
pub struct Settings {
    /// `MAX_BATCH_EVENTS` (default 100), `MAX_BATCH_BYTES` (default 1 MiB).
    pub limits: batch::Limits,
    /// `ALLOWED_ORIGINS` (default `*`): origins a browser may call from, separated by commas.
    pub allowed_origins: Origins,
    /// `ALLOW_INSECURE=true`: answer any host with `AUTH_MODE=none`.
    pub allow_insecure: bool,
    /// The log's server.
    pub upstream: UpstreamSettings,
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

impl Settings {
    /// Reads the settings; the problem names the one that is wrong.
    pub fn read(env: &Env) -> Result<Self, Problem> {
        let mode = text(env, "AUTH_MODE").unwrap_or_else(|| "none".into());
        if mode != "none" {
            return Err(Problem::misconfigured("AUTH_MODE", format!("is {mode:?}, but must be none.")));
        }
        segment_size(env)?; // the Sequencer's, but it is here that a mistake can be told
        Ok(Self {
            limits: batch::Limits {
                events: number(env, "MAX_BATCH_EVENTS", 100)?,
                bytes: number(env, "MAX_BATCH_BYTES", 1 << 20)?,
            },
            allowed_origins: origins(text(env, "ALLOWED_ORIGINS")),
            allow_insecure: text(env, "ALLOW_INSECURE").as_deref() == Some("true"),
            upstream: UpstreamSettings::read(env)?,
        })
    }
}

impl UpstreamSettings {
    /// Reads the settings; the problem names the one that is wrong.
    pub fn read(env: &Env) -> Result<Self, Problem> {
        let url = text(env, "UPSTREAM_URL")
            .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
            .ok_or_else(|| {
                Problem::misconfigured("UPSTREAM_URL", "must be the http(s) URL of a Durable Streams server.")
            })?;
        Ok(Self {
            url: url.trim_end_matches('/').to_string(),
            token: text(env, "UPSTREAM_TOKEN"),
            timeout: Duration::from_millis(number(env, "UPSTREAM_TIMEOUT_MS", 10_000)?),
        })
    }
}

/// `SEGMENT_BYTES` (default 1 MiB, at most 4), `SEGMENT_EVENTS` (default 10,000).
pub fn segment_size(env: &Env) -> Result<SegmentSize, Problem> {
    let size =
        SegmentSize { bytes: number(env, "SEGMENT_BYTES", 1 << 20)?, events: number(env, "SEGMENT_EVENTS", 10_000)? };
    if size.bytes > MAX_SEGMENT_BYTES / 2 {
        return Err(Problem::misconfigured("SEGMENT_BYTES", format!("may be {} at most.", MAX_SEGMENT_BYTES / 2)));
    }
    Ok(size)
}

fn origins(listed: Option<String>) -> Origins {
    match listed.as_deref().map(str::trim) {
        None | Some("*") => Origins::Any,
        Some(list) => Origins::Listed(list.split(',').map(|o| o.trim().trim_end_matches('/').to_string()).collect()),
    }
}

/// A variable or secret; empty is as good as absent.
fn text(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string()).filter(|value| !value.is_empty())
}

fn number<N: FromStr + PartialOrd + From<u8>>(env: &Env, name: &str, default: N) -> Result<N, Problem> {
    match text(env, name) {
        None => Ok(default),
        Some(value) => {
            value.parse().ok().filter(|n| *n >= N::from(1)).ok_or_else(|| {
                Problem::misconfigured(name, format!("is {value:?}, but must be a whole number from 1."))
            })
        }
    }
}
