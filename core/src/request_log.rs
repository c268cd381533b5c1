//! The outcome of one request, for operators: a line of the log, and a data point of Workers Analytics Engine
//! (docs/monitoring.md).
//!
//! Invariant: an entry holds no part of an event, no token, no store's name and no address of the upstream. Every text is
//! one of ours, except the encoded name of the tenant, the method, and three letters of `CF-Ray`.

use serde::Serialize;

use crate::batch::Batch;
use crate::names::StorePath;
use crate::problem::Problem;
use crate::route::{Live, Verb};
use crate::timing::Timing;

/// The requests that have a line in the log: `LOG_REQUESTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRequests {
    /// `all`
    All,
    /// `errors`: requests with an answer that ordinary operation does not bring.
    Errors,
    /// `none`
    None,
}

impl LogRequests {
    /// Reads the value of the setting.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "errors" => Some(Self::Errors),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// Whether a request with this answer has a line. In ordinary operation, tokens expire (401), strangers try addresses
    /// (404), writers contend (409), and readers return too late (410).
    pub fn wants(self, status: u16) -> bool {
        match self {
            Self::All => true,
            Self::Errors => status >= 400 && !matches!(status, 401 | 404 | 409 | 410),
            Self::None => false,
        }
    }
}

/// One request. The JSON form is the line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "log", rename = "request")]
pub struct Entry {
    /// The HTTP method; `SOCKET` for a frame.
    pub method: String,
    /// The name of the route; `none` while it is unknown.
    pub route: &'static str,
    /// The tenant's name, in the encoding of the upstream path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// [`StorePath::digest`]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// `ok`, for pushes `accepted` or `accepted-again`, or the problem's `_tag`.
    pub outcome: &'static str,
    /// The last part of the problem's `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    /// The problem's `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The milliseconds from the request's arrival to the answer's head.
    pub ms: u64,
    /// The parts of that time.
    pub waits: Timing,
    /// The value of `live` of a live read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<&'static str>,
    /// The `X-Cache` of a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// The number of a push's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The bytes of a push's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The `seqNum` of a push's first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The `seqNum` of a push's last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Cloudflare's location. On a self-hosted server, the client may send any value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colo: Option<String>,
}

impl Entry {
    /// The entry of a request that has just arrived. `ray` is its `CF-Ray`, which ends with the location.
    pub fn new(method: String, ray: Option<&str>, now: u64) -> Self {
        Self {
            method,
            route: "none",
            tenant: None,
            store: None,
            status: 0,
            outcome: "ok",
            problem: None,
            reason: None,
            ms: 0,
            waits: Timing::start(now),
            live: None,
            cache: None,
            events: None,
            bytes: None,
            first: None,
            last: None,
            colo: ray
                .and_then(|ray| ray.rsplit_once('-'))
                .map(|(_, colo)| colo)
                .filter(|colo| colo.len() == 3 && colo.bytes().all(|b| b.is_ascii_uppercase()))
                .map(Into::into),
        }
    }

    /// Notes the store and the operation.
    pub fn aims(&mut self, store: &StorePath, verb: &Verb) {
        self.route = verb.name();
        self.tenant = Some(store.tenant().into());
        self.store = Some(store.digest());
        if let Verb::Read(read) = verb {
            self.live = read.live.map(Live::name);
        }
    }

    /// Notes the batch of a push.
    pub fn brings(&mut self, batch: &Batch) {
        self.events = Some(batch.events);
        self.bytes = Some(batch.bytes);
        self.first = Some(batch.first);
        self.last = Some(batch.last);
    }

    /// Notes the refusal. Returns its status.
    pub fn refused(&mut self, problem: &Problem) -> u16 {
        self.outcome = problem.tag;
        self.problem = Some(problem.kind);
        self.reason =
            problem.fields.get("reason").and_then(|reason| reason.as_str()).map(Into::into);
        problem.status
    }

    /// Notes the answer.
    pub fn answered(&mut self, status: u16, now: u64) {
        self.status = status;
        self.ms = self.waits.total(now);
    }

    /// The data point of the request.
    pub fn point(&self) -> Point<'_> {
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let tenant = self.tenant.as_deref().unwrap_or_default();
        let numbers = [
            u64::from(self.status),
            self.ms,
            self.waits.of("sequencer"),
            self.waits.of("upstream"),
            self.events.unwrap_or(0),
            self.bytes.unwrap_or(0),
        ];
        Point {
            // Encoded names are ASCII, therefore any byte is a boundary.
            index: &tenant[..tenant.len().min(MAX_INDEX)],
            blobs: [
                self.route.into(),
                self.outcome.into(),
                self.problem.unwrap_or_default().into(),
                text(&self.reason),
                text(&self.cache),
                self.live.unwrap_or_default().into(),
                text(&self.store),
                text(&self.colo),
            ],
            doubles: numbers.map(|number| number as f64),
        }
    }
}

/// The most bytes of a data point's index
/// (<https://developers.cloudflare.com/analytics/analytics-engine/limits/>).
const MAX_INDEX: usize = 96;

/// A data point. docs/monitoring.md has the layout.
#[derive(Debug, PartialEq)]
pub struct Point<'e> {
    /// The tenant.
    pub index: &'e str,
    /// Route, outcome, problem, reason, cache, live, store, location.
    pub blobs: [String; 8],
    /// Status, ms, ms of the Sequencer, ms of the upstream, events, bytes.
    pub doubles: [f64; 6],
}
