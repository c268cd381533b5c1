//! The URL of the upstream, which may have several servers: shards.

/// The most shards that an upstream may have. `/ready` asks each, and Workers Free allows 50 requests.
pub const MAX_SHARDS: u32 = 32;

/// `UPSTREAM_URL`. With `{shard:N}` in it, it names N servers, and each store's log is on one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// The URL before the number of the shard, without a slash at its end if it is the whole URL.
    before: String,
    /// The rest of the URL, and the number of shards; `None` if there is one server.
    shards: Option<(String, u32)>,
}

impl UpstreamUrl {
    /// Reads a setting. `None` if it has braces that are not one `{shard:N}`, with N from 2 to [`MAX_SHARDS`].
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let Some((before, rest)) = text.split_once("{shard:") else {
            return (!text.contains(['{', '}']))
                .then(|| Self { before: text.into(), shards: None });
        };
        let (count, after) = rest.split_once('}')?;
        let is_number = count.bytes().all(|byte| byte.is_ascii_digit()) && !count.starts_with('0');
        let count = count.parse().ok().filter(|n| is_number && (2..=MAX_SHARDS).contains(n))?;
        let is_alone = ![before, after].iter().any(|part| part.contains(['{', '}']));
        is_alone.then(|| Self { before: before.into(), shards: Some((after.into(), count)) })
    }

    /// The number of servers.
    pub fn shards(&self) -> u32 {
        self.shards.as_ref().map_or(1, |(_, count)| *count)
    }

    /// The shard on which the log of a new store begins, by the 32-bit FNV-1a hash of the store's encoded path
    /// (<http://www.isthe.com/chongo/tech/comp/fnv/>). Other tools may compute it as well (docs/deployment.md).
    pub fn shard_of(&self, path: &str) -> u32 {
        let hash = path.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        hash % self.shards()
    }

    /// The URL of a shard. A shard keeps its URL after the number of shards was lowered.
    pub fn of(&self, shard: u32) -> String {
        match &self.shards {
            None => self.before.clone(),
            Some((after, _)) => format!("{}{shard}{after}", self.before),
        }
    }
}
