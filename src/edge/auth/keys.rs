//! The keys that this isolate remembers: the keys of the settings, and the keys that the issuer publishes.
//!
//! The isolate fetches published keys when they are first needed, and every ten minutes after that. It also fetches them
//! when none of them signed a token. Therefore a rotation takes effect at once. The isolate never fetches more often than
//! every five seconds, whatever tokens arrive. It refuses a token for its missing key only if it fetched the keys after it
//! first missed that key.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use headwater_core::auth::jwks::{self, Jwk};
use headwater_core::auth::token::{Algorithm, Token};
use headwater_core::problem::Problem;
use worker::{
    CacheMode, Context, Fetch, Headers, Request, RequestInit, RequestRedirect, Response,
    console_error,
};

use super::crypto::Key;
use crate::edge::body::collect;
use crate::isolate::{TimedOut, now_ms, wait_while, within};

/// Older published keys are fetched again. The old keys serve meanwhile.
const FRESH_MS: u64 = 10 * 60_000;
/// Older published keys are not believed: the issuer does not answer.
const STALE_MS: u64 = 60 * 60_000;
/// The shortest time between two fetches.
const PAUSE_MS: u64 = 5_000;
/// How long the issuer may take.
const FETCH_MS: u64 = 5_000;
/// The longest key set.
const MAX_SET_BYTES: usize = 256 << 10;
/// How many keys are tried for a token that names none.
const MAX_TRIED: usize = 8;
/// How many names of missing keys are remembered. Beyond it all are forgotten.
const MAX_MISSED: usize = 64;

/// Keys from one source.
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// The keys that may have signed this token.
    pub(super) fn candidates(&self, token: &Token<'_>) -> Vec<Key> {
        let fits = |key: &&Key| {
            // A secret has no name. The token may name one nevertheless.
            let has_name = token.algorithm == Algorithm::Hs256
                || token.key_id.is_none()
                || token.key_id == key.id;
            key.algorithm == token.algorithm && has_name
        };
        self.0.iter().filter(fits).take(MAX_TRIED).cloned().collect()
    }
}

thread_local! {
    /// The key sets of the settings, by setting: an isolate has one environment.
    static CONFIGURED: RefCell<HashMap<&'static str, Rc<KeySet>>> = RefCell::default();
    /// The key sets of issuers, by URL.
    static PUBLISHED: RefCell<HashMap<String, Published>> = RefCell::default();
}

/// The key of `JWT_SECRET`.
pub(super) async fn secret(secret: &str) -> Result<Rc<KeySet>, Problem> {
    configured("JWT_SECRET", async {
        Key::secret(secret)
            .await
            .map(|key| vec![key])
            .map_err(|_| Problem::misconfigured("JWT_SECRET", "can't be used."))
    })
    .await
}

/// The keys of `JWT_JWKS`.
pub(super) async fn listed(keys: &[Jwk]) -> Result<Rc<KeySet>, Problem> {
    configured("JWT_JWKS", async {
        match import(keys).await {
            keys if keys.is_empty() => {
                Err(Problem::misconfigured("JWT_JWKS", "has keys, but none that is what it says."))
            }
            keys => Ok(keys),
        }
    })
    .await
}

async fn configured(
    setting: &'static str,
    import: impl Future<Output = Result<Vec<Key>, Problem>>,
) -> Result<Rc<KeySet>, Problem> {
    if let Some(keys) = CONFIGURED.with_borrow(|all| all.get(setting).cloned()) {
        return Ok(keys);
    }
    let keys = Rc::new(KeySet(import.await?));
    CONFIGURED.with_borrow_mut(|all| all.insert(setting, keys.clone()));
    Ok(keys)
}

async fn import(keys: &[Jwk]) -> Vec<Key> {
    let mut imported = Vec::new();
    for jwk in keys {
        match Key::public(jwk).await {
            Ok(key) => imported.push(key),
            Err(_) => console_error!("the key {:?} of a key set can't be used", jwk.id),
        }
    }
    imported
}

/// The issuer's keys as last fetched, and the fetches.
#[derive(Default)]
struct Published {
    keys: Option<KeySet>,
    /// When the fetch began that brought `keys`.
    fetched_ms: u64,
    /// When the last fetch began.
    begun_ms: u64,
    /// Whether the last fetch is under way.
    under_way: bool,
    /// Names of keys that the issuer did not have, and when a token first needed them.
    missed_ms: HashMap<Option<String>, u64>,
}

impl Published {
    fn with<T>(url: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        PUBLISHED.with_borrow_mut(|all| work(all.entry(url.into()).or_default()))
    }

    fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.fetched_ms)
    }

    /// The runtime may end the request of a fetch. Such a fetch never finishes, and counts as over after some time.
    fn is_under_way(&self, now_ms: u64) -> bool {
        self.under_way && now_ms < self.begun_ms + 2 * FETCH_MS
    }

    fn may_fetch(&self, now_ms: u64) -> bool {
        !self.is_under_way(now_ms) && now_ms >= self.begun_ms + PAUSE_MS
    }

    fn candidates(&self, token: &Token<'_>, now_ms: u64) -> Option<Vec<Key>> {
        let keys = self.keys.as_ref().filter(|_| self.age_ms(now_ms) < STALE_MS)?;
        Some(keys.candidates(token)).filter(|keys| !keys.is_empty())
    }

    /// Notes that a key is missing. Says when the key was first missed.
    fn miss(&mut self, name: &Option<String>, now_ms: u64) -> u64 {
        if self.missed_ms.len() >= MAX_MISSED {
            self.missed_ms.clear();
        }
        *self.missed_ms.entry(name.clone()).or_insert(now_ms)
    }
}

/// The published keys that may have signed this token. Empty if the issuer certainly has no such key.
pub(super) async fn published(
    url: &str,
    context: &Context,
    token: &Token<'_>,
) -> Result<Vec<Key>, Problem> {
    let now = now_ms();
    let (keys, age_ms, may_fetch) = Published::with(url, |known| {
        (known.candidates(token, now), known.age_ms(now), known.may_fetch(now))
    });
    if let Some(keys) = keys.filter(|_| age_ms < 2 * FRESH_MS) {
        if age_ms >= FRESH_MS && may_fetch {
            begin_fetch(url, context);
        }
        return Ok(keys);
    }
    let missed_ms = Published::with(url, |known| known.miss(&token.key_id, now));
    fetch_and_wait(url, context).await;
    let now = now_ms();
    Published::with(url, |known| match known.candidates(token, now) {
        Some(keys) => Ok(keys),
        None if known.keys.is_some() && known.fetched_ms >= missed_ms => Ok(Vec::new()),
        None => {
            let seconds = (known.begun_ms + PAUSE_MS).saturating_sub(now).div_ceil(1_000);
            Err(Problem::keys_unavailable(u32::try_from(seconds).unwrap_or(1).max(1)))
        }
    })
}

/// Newer published keys for a token that no known key signed: the issuer may have replaced a key and kept its name.
pub(super) async fn republished(url: &str, context: &Context, token: &Token<'_>) -> Vec<Key> {
    let before_ms = Published::with(url, |known| known.fetched_ms);
    fetch_and_wait(url, context).await;
    let now = now_ms();
    let keys = Published::with(url, |known| {
        known.candidates(token, now).filter(|_| known.fetched_ms > before_ms)
    });
    keys.unwrap_or_default()
}

/// Fetches the keys if that is allowed now. Waits for the fetch, or for that of another request.
async fn fetch_and_wait(url: &str, context: &Context) {
    if Published::with(url, |known| known.may_fetch(now_ms())) {
        begin_fetch(url, context);
    }
    wait_while(
        || Published::with(url, |known| known.is_under_way(now_ms())),
        Duration::from_millis(2 * FETCH_MS),
    )
    .await;
}

/// Begins a fetch. The fetch counts as under way when this returns. Therefore no other request begins one.
fn begin_fetch(url: &str, context: &Context) {
    let begun_ms = now_ms();
    Published::with(url, |known| (known.begun_ms, known.under_way) = (begun_ms, true));
    context.wait_until(fetch(url.into(), begun_ms));
}

async fn fetch(url: String, begun_ms: u64) {
    let fetched = match within(Duration::from_millis(FETCH_MS), Box::pin(download(&url))).await {
        Ok(fetched) => fetched,
        Err(TimedOut) => Err("it did not answer in time".into()),
    };
    if let Err(why) = &fetched {
        console_error!("JWT_JWKS_URL: {why}");
    }
    Published::with(&url, |known| {
        known.under_way = false;
        if let Ok(keys) = fetched {
            (known.keys, known.fetched_ms) = (Some(KeySet(keys)), begun_ms);
        }
    });
}

async fn download(url: &str) -> Result<Vec<Key>, String> {
    let request = request(url).map_err(|error| error.to_string())?;
    let mut response = Fetch::Request(request).send().await.map_err(|_| "it can't be reached")?;
    if response.status_code() != 200 {
        return Err(format!("it answered {}", response.status_code()));
    }
    let set = jwks::parse(&text(&mut response).await?)?;
    match import(&set.usable).await {
        keys if keys.is_empty() => Err("it has no key that can be used".into()),
        keys => Ok(keys),
    }
}

async fn text(response: &mut Response) -> Result<String, String> {
    let chunks = response.stream().map_err(|_| "its answer is empty")?;
    let body = collect(chunks, MAX_SET_BYTES).await.map_err(|_| "its answer broke off")?;
    let body = body.ok_or_else(|| format!("its answer is longer than {MAX_SET_BYTES} bytes"))?;
    String::from_utf8(body).map_err(|_| "its answer is not UTF-8".into())
}

fn request(url: &str) -> worker::Result<Request> {
    let headers = Headers::new();
    headers.set("accept", "application/json")?;
    let mut init = RequestInit::new();
    init.with_headers(headers)
        .with_redirect(RequestRedirect::Manual)
        .with_cache(CacheMode::NoStore);
    Request::new_with_init(url, &init)
}

/// Whether one of these keys signed the token.
pub(super) async fn any_signed(keys: &[Key], token: &Token<'_>) -> bool {
    for key in keys {
        // Web Crypto fails on bytes that are no signature at all.
        if key.signed(token).await.unwrap_or(false) {
            return true;
        }
    }
    false
}
