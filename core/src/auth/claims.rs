//! From the claims of a token to what it opens.

use serde_json::{Map, Value};

use crate::names::StorePath;
use crate::problem::Problem;

/// How far the clocks of the issuer and of the Worker may be apart, in seconds.
pub const LEEWAY: f64 = 60.0;

/// What a token must say. An empty list of issuers or audiences takes any.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `JWT_ISSUER`: what `iss` may be.
    pub issuers: Vec<String>,
    /// `JWT_AUDIENCE`: what `aud` must be, or contain.
    pub audiences: Vec<String>,
    /// Whose data: one text.
    pub tenant: Claim,
    /// Which stores: the text `*` for all, another text for the one of that name, or a list of exact names.
    pub stores: Claim,
    /// What may be done: `read`, `write`, `admin` with spaces between them, or a list of them.
    pub scope: Claim,
}

/// Where something is said in a token.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The claim's name; where there is none of that name, dots lead into objects (`o.id`).
    pub name: String,
    /// What holds for tokens without the claim; without it they are refused.
    pub fallback: Option<String>,
}

/// What may be done with a store.
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
    /// As tokens name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// What a caller may do.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// Everything: `AUTH_MODE=none`.
    Everything,
    /// What a token says.
    Token {
        /// Whose data.
        tenant: String,
        /// Which stores.
        stores: Stores,
        /// What may be done.
        scopes: Vec<String>,
        /// Until when, in seconds since 1970, leeway included.
        until: f64,
    },
}

/// Which stores of its tenant a token is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Stores {
    /// All of them: the text `*`. In a list, `*` is a store of that name.
    All,
    /// Those with these names.
    Named(Vec<String>),
}

impl Policy {
    /// What a token with these claims opens at the time `now`, in seconds since 1970. Its signature
    /// has been checked.
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
                "The token's issuer is not the one this server trusts (`iss`).",
            ));
        }
        if !self.audiences.is_empty()
            && !claims.get("aud").is_some_and(|audience| meets(audience, &self.audiences))
        {
            return Err(Problem::unauthorized(
                "aud",
                "The token is meant for someone else (`aud`).",
            ));
        }
        let tenant = match self.tenant.of(claims)? {
            Said::Text(tenant) => tenant,
            Said::List(_) => return Err(self.tenant.wrong("one text")),
        };
        Ok(Grant::Token {
            tenant,
            stores: match self.stores.of(claims)? {
                Said::Text(all) if all == "*" => Stores::All,
                Said::Text(store) => Stores::Named(vec![store]),
                Said::List(stores) => Stores::Named(stores),
            },
            scopes: match self.scope.of(claims)? {
                Said::Text(scopes) => scopes.split(' ').map(Into::into).collect(),
                Said::List(scopes) => scopes,
            },
            until,
        })
    }
}

impl Grant {
    /// When it ends, in milliseconds since 1970; `None` if it does not.
    pub fn until(&self) -> Option<u64> {
        match self {
            Self::Everything => None,
            Self::Token { until, .. } => Some((until * 1_000.0) as u64),
        }
    }

    /// Whether a store may be used so. Names are compared as they are encoded, which is how a store is
    /// told from another everywhere else.
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

/// What a claim may hold.
enum Said {
    Text(String),
    List(Vec<String>),
}

impl Claim {
    fn of(&self, claims: &Map<String, Value>) -> Result<Said, Problem> {
        let fallback = || self.fallback.clone().map(Value::String);
        // A claim that says nothing (null) is as good as none; one that says something else never is.
        let value = self.find(claims).filter(|value| !value.is_null()).cloned().or_else(fallback);
        let value = value.ok_or_else(|| {
            Problem::not_permitted(
                "claim",
                format!("The token has no `{}`, which this server needs.", self.name),
            )
        })?;
        match value {
            Value::String(text) => Ok(Said::Text(text)),
            Value::Array(list) => {
                let texts = list.into_iter().map(|one| match one {
                    Value::String(text) => Some(text),
                    _ => None,
                });
                texts
                    .collect::<Option<_>>()
                    .map(Said::List)
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

/// When a token with these claims ends, leeway included; an error if that is over.
pub fn end(claims: &Map<String, Value>, now: f64) -> Result<f64, Problem> {
    let expires = date(claims, "exp")?.ok_or_else(|| {
        Problem::unauthorized("exp", "The token has no `exp`: it must say when it expires.")
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

fn meets(audience: &Value, allowed: &[String]) -> bool {
    match audience.as_array() {
        Some(list) => list.iter().any(|one| is_one_of(one, allowed)),
        None => is_one_of(audience, allowed),
    }
}
