//! The keys of a store's segments in the edge cache, and looks at them.

use std::time::Duration;

use headwater_core::event::{BackendId, Fingerprinter, Offset};
use headwater_core::names::{StorePath, encode};
use headwater_core::sequencer::call::Incarnation;
use worker::{Cache, Response, console_error};

use super::claims::{Avoid, FillClaims};
use super::{FillError, FillOutcome};
use crate::edge::tip_cache;
use crate::isolate::wait_while;
use crate::upstream::discard;

/// The name of Headwater's own edge cache, and the first part of its keys.
const NAME: &str = "headwater-segments";

/// How long a reader waits for another request of its isolate to fill a segment.
const AWAIT_FILL: Duration = Duration::from_secs(1);

/// The part of the edge cache that belongs to one incarnation of one store.
pub(in crate::edge) struct SegmentCache {
    cache: Cache,
    store: StorePath,
    incarnation: Incarnation,
    key_prefix: String,
}

impl SegmentCache {
    /// `host` is the request's own. A Worker's cache is its zone's, and a zone answers for its own hosts only.
    /// Therefore two hosts of one Worker have a cache each.
    pub(in crate::edge) async fn open(
        host: &str,
        store: &StorePath,
        incarnation: Incarnation,
    ) -> Self {
        let (id, index) = (encode(&incarnation.backend_id.0), encode(&incarnation.index.0));
        let key_prefix = format!("https://{host}/{NAME}/{id}/{index}/{}", store.as_str());
        Self {
            cache: Cache::open(NAME.into()).await,
            store: store.clone(),
            incarnation,
            key_prefix,
        }
    }

    pub(super) fn store(&self) -> &StorePath {
        &self.store
    }

    pub(super) fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    pub(super) fn backend_id(&self) -> BackendId {
        self.incarnation.backend_id.clone()
    }

    /// The backend id of a log without a header.
    pub(super) fn implicit_id(&self) -> BackendId {
        BackendId::implicit(self.store.as_str())
    }

    /// The key of the segment that begins at `from`. Every part is encoded injectively: no two segments share a key.
    pub(super) fn key(&self, from: &Offset) -> String {
        format!("{}/{}", self.key_prefix, encode(&from.0))
    }

    /// The ETag of a segment. The bytes between two offsets of one incarnation never change. Therefore the offsets and the
    /// incarnation make the tag.
    pub(super) fn etag(&self, from: &Offset, end: &Offset) -> String {
        let mut tag = Fingerprinter::default();
        for part in [&self.incarnation.backend_id.0, &self.incarnation.index.0, &from.0, &end.0] {
            tag.event(part.as_bytes());
        }
        tag.fingerprint().to_hex()
    }

    /// Looks into the cache. A cache that fails counts as a miss.
    pub(super) async fn find(&self, from: &Offset) -> Option<Response> {
        self.cache.get(self.key(from), true).await.ok().flatten()
    }

    pub(super) async fn holds(&self, from: &Offset) -> bool {
        self.find(from).await.inspect(discard).is_some()
    }

    /// Looks into the cache, and waits if another request of this isolate is about to cache the segment. The wait polls the
    /// claim: each look into the cache may count as a request, of which a free plan allows 50.
    pub(super) async fn find_or_await(&self, from: &Offset) -> Option<Response> {
        let was_claimed = FillClaims::has(&self.key(from));
        let found = self.find(from).await;
        // Requests that look at the same time all miss. The first of them to continue has claimed the segment by now.
        if found.is_some() || !(was_claimed || FillClaims::has(&self.key(from))) {
            return found;
        }
        wait_while(|| FillClaims::has(&self.key(from)), AWAIT_FILL).await;
        self.find(from).await
    }

    pub(super) async fn put(&self, from: &Offset, response: Response) -> worker::Result<()> {
        self.cache.put(self.key(from), response).await
    }

    /// Logs why a segment could not be read. If the log does not fit its index, the key is avoided, and the Sequencer is
    /// to look at the log.
    pub(super) fn failed(&self, from: &Offset, error: FillError) -> FillOutcome {
        match error {
            FillError::NoAnswer => FillOutcome::NoAnswer,
            FillError::Mismatch(why) => {
                console_error!("a segment of {} could not be read: {why}", self.store.digest());
                tip_cache::invalidate(&self.store);
                Avoid::Index.set(self.key(from));
                FillOutcome::Mismatch
            }
            FillError::Runtime(error) => {
                console_error!("filling the cache for {} failed: {error}", self.store.digest());
                FillOutcome::NoAnswer
            }
        }
    }
}
