//! Claims become a [`Grant`].

use serde_json::{Map, Value};

use crate::names::StorePath;
use crate::problem::Problem;

/// The seconds by which the clocks of the issuer and of the Worker may differ.
pub const LEEWAY: f64 = 60.0;

/// The claims that a token must have. An empty list of issuers or audiences admits any.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `JWT_ISSUER`: the accepted values of `iss`.
    pub issuers: Vec<String>,
    /// `JWT_AUDIENCE`: `aud` must be or contain one of these values.
    pub audiences: Vec<String>,
    /// The claim of the tenant: one text.
    pub tenant: Claim,
    /// The claim of the stores: the text `*` for all, another text for one store, or a list of exact names.
    pub stores: Claim,
    /// The claim of the scopes: `read`, `write` and `admin`, as a text with spaces or as a list.
    pub scope: Claim,
}

/// The place of a value in a token.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The claim's name. If no claim has that name, its dots lead into objects (`o.id`).
    pub name: String,
    /// The value for tokens without the claim. Without a fallback, such tokens are refused.
    pub fallback: Option<String>,
}

/// The permission to use a store in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `GET`, `HEAD`
    Read,
    /// `POST`, `PUT`
    Write,
    /// `DELETE`
    Admin,
}

impl Scope {
    /// The scope's name in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// The permissions of a caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// Everything: `AUTH_MODE=none`.
    Everything,
    /// The permissions of a token.
    Token {
        /// The tenant whose stores the token opens.
        tenant: String,
        /// The stores that the token opens.
        stores: Stores,
        /// The scopes of the token.
        scopes: Vec<String>,
        /// The end of the grant in seconds since 1970, leeway included.
        until: f64,
    },
}

/// The stores of a tenant that a token opens.
#[derive(Clone, Debug, PartialEq)]
pub enum Stores {
    /// All stores: the text `*`. In a list, `*` is a store with that name.
    All,
    /// The stores with these names.
    Named(Vec<String>),
}

impl Policy {
    /// The grant of a token with these claims. The caller has checked the signature. `now` is in seconds since 1970.
    pub fn grant(&self, claims: &Map<String, Value>, now: f64) -> Result<Grant, Problem> {
        let until = end(claims, now)?;
        if date(claims, "nbf")?.is_some_and(|from| now < from - LEEWAY) {
            return Err(Problem::unauthorized("nbf", "The token is not valid yet."));
        }
        if !self.issuers.is_empty()
            && !claims.get("iss").is_some_and(|issuer| is_one_of(issuer, &self.issuers))
        {
            return Err(Problem::unauthorized(
                "iss",
                "The token's issuer (`iss`) is not one that this server trusts.",
            ));
        }
        if !self.audiences.is_empty()
            && !claims.get("aud").is_some_and(|audience| has_one_of(audience, &self.audiences))
        {
            return Err(Problem::unauthorized(
                "aud",
                "The token's audience (`aud`) does not include this server.",
            ));
        }
        let tenant = match self.tenant.of(claims)? {
            ClaimValue::Text(tenant) => tenant,
            ClaimValue::List(_) => return Err(self.tenant.wrong("one text")),
        };
        Ok(Grant::Token {
            tenant,
            stores: match self.stores.of(claims)? {
                ClaimValue::Text(all) if all == "*" => Stores::All,
                ClaimValue::Text(store) => Stores::Named(vec![store]),
                ClaimValue::List(stores) => Stores::Named(stores),
            },
            scopes: match self.scope.of(claims)? {
                ClaimValue::Text(scopes) => scopes.split(' ').map(Into::into).collect(),
                ClaimValue::List(scopes) => scopes,
            },
            until,
        })
    }
}

impl Grant {
    /// The end of the grant in milliseconds since 1970; `None` if it never ends.
    pub fn until(&self) -> Option<u64> {
        match self {
            Self::Everything => None,
            Self::Token { until, .. } => Some((until * 1_000.0) as u64),
        }
    }

    /// Whether the grant permits a use of the store. Encoded names are compared, as everywhere else.
    pub fn permits(&self, store: &StorePath, scope: Scope) -> Result<(), Problem> {
        let Self::Token { tenant, stores, scopes, .. } = self else { return Ok(()) };
        let covers_store = match stores {
            Stores::All => true,
            Stores::Named(names) => names
                .iter()
                .any(|name| StorePath::new(tenant, name).is_ok_and(|path| path == *store)),
        };
        if !store.belongs_to(tenant) {
            return Err(Problem::not_permitted("tenant", "The token is for another tenant."));
        }
        if !covers_store {
            return Err(Problem::not_permitted(
                "store",
                "The token is for other stores of this tenant.",
            ));
        }
        if !scopes.iter().any(|held| held == scope.name()) {
            return Err(Problem::needs_scope(scope.name()));
        }
        Ok(())
    }
}

/// The value of a claim.
enum ClaimValue {
    Text(String),
    List(Vec<String>),
}

impl Claim {
    fn of(&self, claims: &Map<String, Value>) -> Result<ClaimValue, Problem> {
        let fallback = || self.fallback.clone().map(Value::String);
        // A claim that is null counts as none. A claim with a wrong value never falls back.
        let value = self.find(claims).filter(|value| !value.is_null()).cloned().or_else(fallback);
        let value = value.ok_or_else(|| {
            Problem::not_permitted(
                "claim",
                format!("The token has no claim `{}`, which this server requires.", self.name),
            )
        })?;
        match value {
            Value::String(text) => Ok(ClaimValue::Text(text)),
            Value::Array(list) => {
                let texts = list.into_iter().map(|one| match one {
                    Value::String(text) => Some(text),
                    _ => None,
                });
                texts
                    .collect::<Option<_>>()
                    .map(ClaimValue::List)
                    .ok_or_else(|| self.wrong("a list of texts"))
            }
            _ => Err(self.wrong("text, or a list of texts")),
        }
    }

    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        claims.get(&self.name).or_else(|| {
            let mut steps = self.name.split('.');
            let first = claims.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        })
    }

    fn wrong(&self, wanted: &str) -> Problem {
        Problem::not_permitted("claim", format!("The token's `{}` must be {wanted}.", self.name))
    }
}

/// The end of a token with these claims, leeway included; an error if the token has expired.
pub fn end(claims: &Map<String, Value>, now: f64) -> Result<f64, Problem> {
    let expires = date(claims, "exp")?.ok_or_else(|| {
        Problem::unauthorized("exp", "The token has no `exp`, but must have an expiry.")
    })?;
    match expires + LEEWAY {
        until if now < until => Ok(until),
        _ => Err(Problem::unauthorized("expired", "The token has expired.")),
    }
}

/// A NumericDate (RFC 7519 §2): seconds since 1970, perhaps with a fraction.
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, Problem> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| {
            Problem::unauthorized(
                name,
                format!("The token's `{name}` must be a number, in seconds since 1970."),
            )
        }),
    }
}

fn is_one_of(value: &Value, allowed: &[String]) -> bool {
    value.as_str().is_some_and(|text| allowed.iter().any(|one| one == text))
}

fn has_one_of(audience: &Value, allowed: &[String]) -> bool {
    match audience.as_array() {
        Some(list) => list.iter().any(|one| is_one_of(one, allowed)),
        None => is_one_of(audience, allowed),
    }
}
