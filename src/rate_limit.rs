//! Cloudflare's rate limiter, if the deployment has one.

use headwater_core::names::StorePath;
use headwater_core::problem::Problem;
use worker::{Env, RateLimitOutcome};

use crate::settings::RATE_LIMITER_BINDING;

/// Asks the limiter. Each tenant has its own budget, which unauthenticated requests
/// don't reach. A limiter that fails limits nobody.
pub(crate) async fn check(env: &Env, store: &StorePath) -> Result<(), Problem> {
    let Ok(limiter) = env.rate_limiter(RATE_LIMITER_BINDING) else { return Ok(()) };
    match limiter.limit(store.tenant().into()).await {
        Ok(RateLimitOutcome { success: false }) => {
            Err(Problem::tenant_rate_limited(RATE_LIMIT_SECONDS))
        }
        _ => Ok(()),
    }
}

/// The shorter of the two periods that Cloudflare's rate limiter knows.
const RATE_LIMIT_SECONDS: u32 = 10;
