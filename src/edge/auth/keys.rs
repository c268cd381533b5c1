//! The keys of this isolate: those of the settings, and those that the issuer publishes.
//!
//! The published ones are fetched when they are first wanted, every ten minutes after that, and when a token is signed
//! by none of them, so that a rotation is honoured at once; but at most every five seconds, whatever tokens there are.
//! No token is refused for want of its key unless the keys were fetched after that was first missed.

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
use crate::isolate::{now, wait_while};
use crate::upstream::{NoAnswer, collect, within};

/// Published keys are fetched anew when they are older; meanwhile the old ones serve.
const FRESH_MS: u64 = 10 * 60_000;
/// Published keys that are older, because the issuer does not answer, are not believed any more.
const STALE_MS: u64 = 60 * 60_000;
/// Keys are fetched at most so often.
const PAUSE_MS: u64 = 5_000;
/// How long the issuer may take.
const FETCH_MS: u64 = 5_000;
/// The longest key set in bytes.
const MAX_SET: usize = 256 << 10;
/// Keys tried for a token that names none.
const MAX_TRIED: usize = 8;
/// Names of missing keys remembered; beyond it they are forgotten, and missed anew.
const MAX_MISSED: usize = 64;

/// Keys from one source.
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// The keys that may have made this token's signature.
    pub fn candidates(&self, token: &Token<'_>) -> Vec<Key> {
        let fits = |key: &&Key| {
            // A secret has no name, whatever a token calls it.
            let named = token.algorithm == Algorithm::Hs256
                || token.key_id.is_none()
                || token.key_id == key.id;
            key.algorithm == token.algorithm && named
        };
        self.0.iter().filter(fits).take(MAX_TRIED).cloned().collect()
    }
}

thread_local! {
    /// By the setting that they come from: an isolate has one environment.
    static CONFIGURED: RefCell<HashMap<&'static str, Rc<KeySet>>> = RefCell::default();
    static PUBLISHED: RefCell<HashMap<String, Published>> = RefCell::default();
}

/// The key of `JWT_SECRET`.
pub async fn secret(secret: &str) -> Result<Rc<KeySet>, Problem> {
    configured("JWT_SECRET", async {
        Key::secret(secret)
            .await
            .map(|key| vec![key])
            .map_err(|_| Problem::misconfigured("JWT_SECRET", "can't be used."))
    })
    .await
}

/// The keys of `JWT_JWKS`.
pub async fn listed(keys: &[Jwk]) -> Result<Rc<KeySet>, Problem> {
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
    make: impl Future<Output = Result<Vec<Key>, Problem>>,
) -> Result<Rc<KeySet>, Problem> {
    if let Some(ring) = CONFIGURED.with_borrow(|all| all.get(setting).cloned()) {
        return Ok(ring);
    }
    let ring = Rc::new(KeySet(make.await?));
    CONFIGURED.with_borrow_mut(|all| all.insert(setting, ring.clone()));
    Ok(ring)
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

/// What the issuer published, as it was when it was last fetched.
#[derive(Default)]
struct Published {
    ring: Option<KeySet>,
    /// When the fetch began that brought `ring`.
    fetched: u64,
    /// When a fetch last began, and whether it is under way.
    begun: u64,
    under_way: bool,
    /// Names that were not among the keys, and when they were first asked for.
    missed: HashMap<Option<String>, u64>,
}

impl Published {
    fn at<T>(url: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        PUBLISHED.with_borrow_mut(|all| work(all.entry(url.into()).or_default()))
    }

    fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.fetched)
    }

    /// A fetch whose request the runtime has ended says nothing any more.
    fn is_under_way(&self, now: u64) -> bool {
        self.under_way && now < self.begun + 2 * FETCH_MS
    }

    fn is_due(&self, now: u64) -> bool {
        !self.is_under_way(now) && now >= self.begun + PAUSE_MS
    }

    fn candidates(&self, token: &Token<'_>, now: u64) -> Option<Vec<Key>> {
        let ring = self.ring.as_ref().filter(|_| self.age(now) < STALE_MS)?;
        Some(ring.candidates(token)).filter(|keys| !keys.is_empty())
    }

    /// When a key of this name was first missed.
    fn miss(&mut self, name: &Option<String>, now: u64) -> u64 {
        if self.missed.len() >= MAX_MISSED {
            self.missed.clear();
        }
        *self.missed.entry(name.clone()).or_insert(now)
    }
}

/// The published keys that may have made this token's signature; none if it is certain that there is none.
pub async fn published(
    url: &str,
    context: &Context,
    token: &Token<'_>,
) -> Result<Vec<Key>, Problem> {
    let at_ms = now();
    let (keys, age, is_due) = Published::at(url, |known| {
        (known.candidates(token, at_ms), known.age(at_ms), known.is_due(at_ms))
    });
    if let Some(keys) = keys.filter(|_| age < 2 * FRESH_MS) {
        if age >= FRESH_MS && is_due {
            begin_fetch(url, context);
        }
        return Ok(keys);
    }
    let missed = Published::at(url, |known| known.miss(&token.key_id, at_ms));
    renew(url, context).await;
    let at_ms = now();
    Published::at(url, |known| match known.candidates(token, at_ms) {
        Some(keys) => Ok(keys),
        None if known.ring.is_some() && known.fetched >= missed => Ok(Vec::new()),
        None => {
            let seconds = (known.begun + PAUSE_MS).saturating_sub(at_ms).div_ceil(1_000);
            Err(Problem::keys_unavailable(u32::try_from(seconds).unwrap_or(1).max(1)))
        }
    })
}

/// The published keys for a token that none of those known has signed, if there are newer ones: an issuer may have
/// put another key in the place of the old one.
pub async fn republished(url: &str, context: &Context, token: &Token<'_>) -> Vec<Key> {
    let before = Published::at(url, |known| known.fetched);
    renew(url, context).await;
    let at_ms = now();
    let keys = Published::at(url, |known| {
        known.candidates(token, at_ms).filter(|_| known.fetched > before)
    });
    keys.unwrap_or_default()
}

/// Fetches the keys if they may be fetched now, and waits for them, whoever fetches.
async fn renew(url: &str, context: &Context) {
    if Published::at(url, |known| known.is_due(now())) {
        begin_fetch(url, context);
    }
    wait_while(
        || Published::at(url, |known| known.is_under_way(now())),
        Duration::from_millis(2 * FETCH_MS),
    )
    .await;
}

/// Fetches the keys. They are under way as soon as this returns, so that no other request fetches them too.
fn begin_fetch(url: &str, context: &Context) {
    let begun = now();
    Published::at(url, |known| (known.begun, known.under_way) = (begun, true));
    context.wait_until(fetch(url.into(), begun));
}

async fn fetch(url: String, begun: u64) {
    let got = within(Duration::from_millis(FETCH_MS), Box::pin(download(&url))).await;
    let got = got.map_err(|NoAnswer| "it did not answer in time".to_string()).and_then(|got| got);
    if let Err(why) = &got {
        console_error!("JWT_JWKS_URL: {why}");
    }
    Published::at(&url, |known| {
        known.under_way = false;
        if let Ok(keys) = got {
            (known.ring, known.fetched) = (Some(KeySet(keys)), begun);
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
    let body = collect(chunks, MAX_SET).await.map_err(|_| "its answer broke off")?;
    let body = body.ok_or_else(|| format!("its answer is longer than {MAX_SET} bytes"))?;
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

/// Whether one of these keys made the token's signature.
pub async fn any_signed(keys: &[Key], token: &Token<'_>) -> bool {
    for key in keys {
        // What Web Crypto can't even read is no signature.
        if key.signed(token).await.unwrap_or(false) {
            return true;
        }
    }
    false
}
