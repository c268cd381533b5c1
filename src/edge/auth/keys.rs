//! The keys of this isolate: those of the settings, and those that the issuer publishes.
//!
//! The published ones are fetched when they are first wanted, every ten minutes after that, and as soon as a token
//! names a key that is not among them, so that a rotation is honoured at once; but at most every ten seconds, whatever
//! tokens name. No token is refused for want of a key unless the keys were fetched after it came.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use worker::{CacheMode, Context, Date, Delay, Fetch, Headers, Request, RequestInit, RequestRedirect, console_error};

use super::crypto::Key;
use super::jwks::{self, Jwk};
use super::token::{Algorithm, Token};
use crate::problem::Problem;
use crate::upstream::within;

/// Published keys are fetched anew when they are older; meanwhile the old ones serve.
const FRESH_MS: u64 = 10 * 60_000;
/// Published keys that are older, because the issuer does not answer, are not believed any more.
const STALE_MS: u64 = 60 * 60_000;
/// Keys are fetched at most so often.
const PAUSE_MS: u64 = 10_000;
/// How long the issuer may take.
const FETCH_MS: u64 = 5_000;
/// Keys tried for a token that names none.
const MAX_TRIED: usize = 8;

/// Keys from one source.
pub struct Ring(Vec<Key>);

impl Ring {
    /// The keys that may have made this token's signature.
    pub fn candidates(&self, token: &Token<'_>) -> Vec<Key> {
        let fits = |key: &&Key| {
            // A secret has no name, whatever a token calls it.
            let named = token.algorithm == Algorithm::Hs256 || token.key_id.is_none() || token.key_id == key.id;
            key.algorithm == token.algorithm && named
        };
        self.0.iter().filter(fits).take(MAX_TRIED).cloned().collect()
    }
}

thread_local! {
    /// By what they were made from, which is a setting: the same for every request of an isolate.
    static CONFIGURED: RefCell<HashMap<String, Rc<Ring>>> = RefCell::default();
    static PUBLISHED: RefCell<HashMap<String, Published>> = RefCell::default();
}

/// The key of `JWT_SECRET`.
pub async fn secret(secret: &str) -> Result<Rc<Ring>, Problem> {
    configured(secret, async {
        Key::secret(secret)
            .await
            .map(|key| vec![key])
            .map_err(|_| Problem::misconfigured("JWT_SECRET", "can't be used."))
    })
    .await
}

/// The keys of `JWT_JWKS`.
pub async fn listed(json: &str) -> Result<Rc<Ring>, Problem> {
    configured(json, async {
        let wrong = |why: String| Problem::misconfigured("JWT_JWKS", why);
        let set = jwks::parse(json).map_err(|why| wrong(format!("{why}.")))?;
        let keys = import(&set.usable).await;
        if keys.is_empty() {
            return Err(wrong(format!("has no key that can be used: {}.", set.unusable.join("; "))));
        }
        Ok(keys)
    })
    .await
}

async fn configured(source: &str, make: impl Future<Output = Result<Vec<Key>, Problem>>) -> Result<Rc<Ring>, Problem> {
    if let Some(ring) = CONFIGURED.with_borrow(|all| all.get(source).cloned()) {
        return Ok(ring);
    }
    let ring = Rc::new(Ring(make.await?));
    CONFIGURED.with_borrow_mut(|all| all.insert(source.into(), ring.clone()));
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
#[derive(Clone, Default)]
struct Published {
    ring: Option<Rc<Ring>>,
    /// When `ring` came.
    fetched: u64,
    /// When a fetch last began, and whether it is under way.
    begun: u64,
    under_way: bool,
}

/// The published keys, with one for this token if there is any.
pub async fn published(url: &str, context: &Context, token: &Token<'_>) -> Result<Rc<Ring>, Problem> {
    let came = Date::now().as_millis();
    let mut pause = 4;
    loop {
        let now = Date::now().as_millis();
        let state = PUBLISHED.with_borrow(|all| all.get(url).cloned()).unwrap_or_default();
        // A request that the runtime ended says nothing any more.
        let under_way = state.under_way && now < state.begun + 2 * FETCH_MS;
        let is_due = !under_way && now >= state.begun + PAUSE_MS;
        let ring = state.ring.filter(|_| now < state.fetched + STALE_MS);
        if let Some(ring) = ring {
            let found = !ring.candidates(token).is_empty();
            if found && is_due && now >= state.fetched + FRESH_MS {
                context.wait_until(fetch(url.into()));
            }
            if found || state.fetched >= came {
                return Ok(ring);
            }
        }
        if is_due && now < came + FETCH_MS {
            context.wait_until(fetch(url.into()));
        } else if !under_way {
            let seconds = (state.begun + PAUSE_MS).saturating_sub(now).div_ceil(1_000);
            return Err(Problem::keys_unavailable(u32::try_from(seconds).unwrap_or(1).max(1)));
        }
        // Never another request's promise: the runtime forbids it.
        Delay::from(Duration::from_millis(pause)).await;
        pause = (2 * pause).min(128);
    }
}

async fn fetch(url: String) {
    let change = |change: &dyn Fn(&mut Published)| {
        PUBLISHED.with_borrow_mut(|all| change(all.entry(url.clone()).or_default()));
    };
    let begun = Date::now().as_millis();
    change(&|published| (published.begun, published.under_way) = (begun, true));
    let got = within(Duration::from_millis(FETCH_MS), Box::pin(download(&url))).await;
    let ring = match got.map_err(|_| "it did not answer in time".to_string()).and_then(|got| got) {
        Ok(keys) if !keys.is_empty() => Some(Rc::new(Ring(keys))),
        Ok(_) => {
            console_error!("JWT_JWKS_URL has no key that can be used");
            None
        }
        Err(why) => {
            console_error!("JWT_JWKS_URL: {why}");
            None
        }
    };
    let fetched = Date::now().as_millis();
    change(&|published| {
        published.under_way = false;
        if let Some(ring) = &ring {
            (published.ring, published.fetched) = (Some(ring.clone()), fetched);
        }
    });
}

async fn download(url: &str) -> Result<Vec<Key>, String> {
    let request = request(url).map_err(|error| error.to_string())?;
    let mut response = Fetch::Request(request).send().await.map_err(|_| "it can't be reached")?;
    if response.status_code() != 200 {
        return Err(format!("it answered {}", response.status_code()));
    }
    let set = jwks::parse(&response.text().await.map_err(|_| "its answer broke off")?)?;
    Ok(import(&set.usable).await)
}

fn request(url: &str) -> worker::Result<Request> {
    let headers = Headers::new();
    headers.set("accept", "application/json")?;
    let mut init = RequestInit::new();
    init.with_headers(headers).with_redirect(RequestRedirect::Manual).with_cache(CacheMode::NoStore);
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
