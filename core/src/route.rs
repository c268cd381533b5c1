//! Routes: method, path and query become a [`Route`] or a [`Problem`].

use crate::auth::Scope;
use crate::event::{BackendId, MAX_SEQ_NUM, Offset, Position, SeqNum};
use crate::log::{LogPart, LogPlace};
use crate::names::{StorePath, percent_decode, percent_encode};
use crate::problem::Problem;

/// The parts of a request's URL. The runtime has already parsed and normalized the URL (WHATWG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'u> {
    /// The host, without a port.
    pub host: &'u str,
    /// The path, still percent-encoded.
    pub path: &'u str,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
}

impl<'u> Target<'u> {
    /// Cuts a URL into its parts.
    pub fn of(url: &'u str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // The brackets of an IPv6 address hold colons, too.
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let host =
            host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(host, _)| host);
        Self { host, path, query: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }
}

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /health`: whether the Worker answers.
    Health,
    /// `GET /ready`: whether the upstream answers.
    Ready,
    /// `GET` of one of the [inspector's files](PAGES).
    Page(&'static Page),
    /// `GET /inspect/api`: the header in which the inspector sends its token.
    Inspector,
    /// An operation on one store.
    Store {
        /// The store.
        store: StorePath,
        /// The incarnation that the address names; `None` for the store's own URL.
        incarnation: Option<BackendId>,
        /// The operation.
        verb: Verb,
    },
}

/// An operation on a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `POST`
    Push,
    /// `GET`
    Read(Read),
    /// `GET ?live=websocket`
    Connect,
    /// `HEAD`
    Head,
    /// `PUT`
    Create,
    /// `DELETE`
    Reset,
    /// `POST` with `Stream-Closed: true` and without a body
    Close,
    /// `DELETE /v1/incarnation/{tenant}/{store}/{backendId}`
    Delete,
    /// `POST /v1/adopt/{tenant}/{store}`
    Adopt,
    /// `POST /v1/move/{tenant}/{store}?to=built-in` or `?to=upstream`
    Move(LogPlace),
    /// `POST /v1/restore/{tenant}/{store}?after=N`, with `end=true` for the last part
    Restore(LogPart),
    /// `GET /inspect/api/{tenant}/{store}`
    Inspect,
}

impl Verb {
    /// The operation's name in the request log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Read(_) => "read",
            Self::Connect => "connect",
            Self::Head => "look",
            Self::Create => "ensure",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Delete => "delete",
            Self::Adopt => "adopt",
            Self::Move(_) => "move",
            Self::Restore(_) => "restore",
            Self::Inspect => "inspect",
        }
    }

    /// The scope that the operation requires.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Read(_) | Self::Connect | Self::Head => Scope::Read,
            Self::Push | Self::Create => Scope::Write,
            Self::Reset
            | Self::Close
            | Self::Delete
            | Self::Adopt
            | Self::Move(_)
            | Self::Restore(_)
            | Self::Inspect => Scope::Admin,
        }
    }
}

/// A read of the stream (protocol §5.6–5.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The position at which the read begins. `after` counts only without an offset, or with the offset `-1`.
    pub from: Position,
    /// How the read goes on at the tail; `None` if it ends there.
    pub live: Option<Live>,
    /// The protocol's cursor (§10.1), passed on unchanged.
    pub cursor: Option<String>,
    /// Whether one answer goes to the tail, and is not cut into pages (`whole=true`).
    pub whole: bool,
}

/// How a live read receives new events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// `live=long-poll`
    LongPoll,
    /// `live=sse`
    Sse,
}

impl Live {
    /// The value of `live` in the query.
    pub fn name(self) -> &'static str {
        match self {
            Self::LongPoll => "long-poll",
            Self::Sse => "sse",
        }
    }
}

/// A file of the inspector. It is the same for everyone, and holds no data.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The path of the URL.
    pub path: &'static str,
    /// The name in the folder `inspector/`.
    pub file: &'static str,
    /// The `Content-Type`.
    pub kind: &'static str,
}

/// The files of the inspector. The Worker serves no other file of that folder.
pub const PAGES: [Page; 3] = [
    Page { path: "/inspect", file: "index.html", kind: "text/html; charset=utf-8" },
    Page { path: "/inspect/inspector.css", file: "inspector.css", kind: "text/css; charset=utf-8" },
    Page {
        path: "/inspect/inspector.js",
        file: "inspector.js",
        kind: "text/javascript; charset=utf-8",
    },
];

/// Whether a path belongs to the inspector. While the inspector is off, these paths are no routes.
pub fn is_inspector(path: &str) -> bool {
    path.strip_prefix("/inspect").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

const STREAM_PREFIX: &str = "/v1/stream/";
const INCARNATION_PREFIX: &str = "/v1/incarnation/";

/// The address of an incarnation. `url` is the store's own URL, or its path. `None` if it is not, or if a foreign
/// header's id fits no address. The names in it are whole; in the upstream's path, a name may be a hash.
pub fn incarnation_url(url: &str, backend_id: &BackendId) -> Option<String> {
    let url = url.split(['?', '#']).next().filter(|_| is_backend_id(&backend_id.0))?;
    let path = Target::of(url).path;
    let (origin, names) = (url.strip_suffix(path)?, path.strip_prefix(STREAM_PREFIX)?);
    Some(format!("{origin}{INCARNATION_PREFIX}{names}/{}", percent_encode(&backend_id.0)))
}

/// The longest backend id that an address or a header may carry.
const MAX_BACKEND_ID: usize = 1024;

/// Whether the text can be a backend id: no server gives one that is longer, or not plain ASCII. URLs can't carry `.`
/// and `..`.
pub fn is_backend_id(text: &str) -> bool {
    (1..=MAX_BACKEND_ID).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|b| b.is_ascii_graphic())
}

const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const POST_METHODS: &str = "POST, OPTIONS";
const STORE_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// The longest offset or cursor. The protocol asks servers to stay under 256 characters (§8).
const MAX_OPAQUE_TEXT: usize = 256;

/// Finds the route of a request. Names may have at most `max_name` bytes.
pub fn route(method: &str, target: &Target<'_>, max_name: usize) -> Result<Route, Problem> {
    let Target { path, query, .. } = target;
    let fixed_route = match *path {
        "/health" => Some(Route::Health),
        "/ready" => Some(Route::Ready),
        "/inspect/api" => Some(Route::Inspector),
        _ => PAGES.iter().find(|page| page.path == *path).map(Route::Page),
    };
    if let Some(route) = fixed_route {
        return match method {
            "GET" | "HEAD" => Ok(route),
            _ => Err(Problem::method_not_allowed(READ_METHODS)),
        };
    }
    let administration = Administration::of(path);
    let by_incarnation = path.strip_prefix(INCARNATION_PREFIX);
    let (names, incarnation) = match by_incarnation.map(|rest| rest.rsplit_once('/')) {
        Some(Some((names, id))) => (Some(names), Some(incarnation(id)?)),
        Some(None) => (None, None),
        None => match administration {
            Some((_, names)) => (Some(names), None),
            None => (path.strip_prefix(STREAM_PREFIX), None),
        },
    };
    let (tenant, store) = names
        .and_then(|rest| rest.split_once('/'))
        .filter(|(tenant, store)| !tenant.is_empty() && !store.is_empty() && !store.contains('/'))
        .ok_or_else(Problem::not_found)?;
    let store = StorePath::from_url(tenant, store, max_name).map_err(|(field, error)| {
        Problem::bad_request(field, format!("The {field}'s name {error}."))
    })?;
    if let Some((administration, _)) = administration {
        let verb = administration.verb(method, query)?;
        return Ok(Route::Store { store, incarnation, verb });
    }
    let verb = match method {
        "POST" => Verb::Push,
        // The parameters of a read mean nothing here: a socket begins at the tail.
        "GET" if single(query, "live")? == Some("websocket") => Verb::Connect,
        "GET" => Verb::Read(read(query)?),
        "HEAD" => Verb::Head,
        "PUT" => Verb::Create,
        "DELETE" if incarnation.is_some() => Verb::Delete,
        "DELETE" => Verb::Reset,
        _ => return Err(Problem::method_not_allowed(STORE_METHODS)),
    };
    Ok(Route::Store { store, incarnation, verb })
}

/// What only an administrator does, at routes beside those of the protocol.
#[derive(Clone, Copy)]
enum Administration {
    Inspect,
    Adopt,
    Move,
    Restore,
}

impl Administration {
    /// What the path asks for, and the names behind it.
    fn of(path: &str) -> Option<(Self, &str)> {
        [
            ("/inspect/api/", Self::Inspect),
            ("/v1/adopt/", Self::Adopt),
            ("/v1/move/", Self::Move),
            ("/v1/restore/", Self::Restore),
        ]
        .into_iter()
        .find_map(|(prefix, one)| Some((one, path.strip_prefix(prefix)?)))
    }

    fn verb(self, method: &str, query: &[(String, String)]) -> Result<Verb, Problem> {
        match (self, method) {
            (Self::Inspect, "GET" | "HEAD") => Ok(Verb::Inspect),
            (Self::Inspect, _) => Err(Problem::method_not_allowed(READ_METHODS)),
            (Self::Adopt, "POST") => Ok(Verb::Adopt),
            (Self::Move, "POST") => Ok(Verb::Move(place(query)?)),
            (Self::Restore, "POST") => Ok(Verb::Restore(part(query)?)),
            _ => Err(Problem::method_not_allowed(POST_METHODS)),
        }
    }
}

fn place(query: &[(String, String)]) -> Result<LogPlace, Problem> {
    single(query, "to")?
        .and_then(LogPlace::named)
        .ok_or_else(|| Problem::bad_request("to", "A move requires to=built-in or to=upstream."))
}

fn part(query: &[(String, String)]) -> Result<LogPart, Problem> {
    let after = single(query, "after")?.map(seq_num).transpose()?.ok_or_else(|| {
        let detail =
            "A restore requires after=N, the seqNum of the last event before the part (0 for the first).";
        Problem::bad_request("after", detail)
    })?;
    let is_last = match single(query, "end")? {
        None => false,
        Some("true") => true,
        Some(other) => {
            let detail = format!("end is {other:?}, but must be true, or left out.");
            return Err(Problem::bad_request("end", detail));
        }
    };
    Ok(LogPart { after, is_last })
}

/// The backend id in an incarnation's address.
fn incarnation(segment: &str) -> Result<BackendId, Problem> {
    percent_decode(segment).filter(|id| is_backend_id(id)).map(BackendId).ok_or_else(|| {
        let detail = "The backend id must be one that an earlier answer gave, percent-encoded.";
        Problem::bad_request("backendId", detail)
    })
}

fn read(query: &[(String, String)]) -> Result<Read, Problem> {
    let live = match single(query, "live")? {
        None => None,
        Some("long-poll") => Some(Live::LongPoll),
        Some("sse") => Some(Live::Sse),
        Some(other) => {
            return Err(Problem::bad_request(
                "live",
                format!("live is {other:?}, but must be long-poll, sse or websocket."),
            ));
        }
    };
    let offset =
        single(query, "offset")?.map(|offset| opaque_text("offset", offset)).transpose()?;
    let after = single(query, "after")?.map(seq_num).transpose()?;
    let from = match (offset, after) {
        // A client that began with `after` may keep it while it goes on by offset.
        (Some(offset), None) => Position::Offset(Offset(offset)),
        (Some(offset), Some(_)) if offset != Offset::START => Position::Offset(Offset(offset)),
        (_, Some(seq)) => Position::After(seq),
        (None, None) if live.is_none() => Position::Offset(Offset(Offset::START.into())),
        (None, None) => {
            return Err(Problem::bad_request(
                "offset",
                "A live read requires an offset (-1 for the start) or after.",
            ));
        }
    };
    let cursor =
        single(query, "cursor")?.map(|cursor| opaque_text("cursor", cursor)).transpose()?;
    let whole = match single(query, "whole")? {
        None => false,
        Some("true") if live.is_none() => true,
        Some("true") => {
            let detail = "Only a catch-up may have whole=true. A live read goes on by itself.";
            return Err(Problem::bad_request("whole", detail));
        }
        Some(other) => {
            let detail = format!("whole is {other:?}, but must be true, or left out.");
            return Err(Problem::bad_request("whole", detail));
        }
    };
    Ok(Read { from, live, cursor, whole })
}

fn seq_num(value: &str) -> Result<SeqNum, Problem> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    value.parse().ok().filter(|seq| digits && *seq <= MAX_SEQ_NUM).ok_or_else(|| {
        Problem::bad_request(
            "after",
            format!(
                "after is {value:?}, but must be a seqNum: an integer from 0 to {MAX_SEQ_NUM}."
            ),
        )
    })
}

fn single<'q>(
    query: &'q [(String, String)],
    name: &'static str,
) -> Result<Option<&'q str>, Problem> {
    let mut values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Problem::bad_request(
            name,
            format!("The query has {name} more than once. Send it once."),
        )),
    }
}

/// Checks an offset or a cursor. Both are opaque, but the protocol (§8) forbids characters that would change the URL's
/// meaning.
fn opaque_text(name: &'static str, value: &str) -> Result<String, Problem> {
    let is_valid = !value.is_empty()
        && value.len() <= MAX_OPAQUE_TEXT
        && value.bytes().all(|b| b.is_ascii_graphic() && !b",&=?/#%+".contains(&b));
    if is_valid {
        Ok(value.to_string())
    } else {
        let detail = format!(
            "{name} must come from an earlier answer, or be -1 or now: 1 to {MAX_OPAQUE_TEXT} visible ASCII characters without , & = ? / # % +."
        );
        Err(Problem::bad_request(name, detail))
    }
}
