//! Bodies that the edge holds as a whole.

use futures::stream::StreamExt;
use worker::ByteStream;

/// Collects a body. `None` if it is longer than `max` bytes; the rest is then left unread.
pub(super) async fn collect(mut chunks: ByteStream, max: usize) -> worker::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > max {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
