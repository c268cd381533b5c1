//! The body of an upstream answer, read in chunks.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::io::AsyncReadExt;
use headwater_core::messages::{MessageSplitter, SplitError};
use headwater_core::sequencer::UpstreamResult;
use wasm_streams::ReadableStream;
use wasm_streams::readable::IntoAsyncRead;
use worker::wasm_bindgen::JsCast;
use worker::{Response, ResponseBody};

use super::NoAnswer;
use crate::isolate::within;

const CHUNK_BYTES: usize = 64 << 10;

/// The body of an answer. Dropping it cancels the rest.
pub(crate) struct Body {
    reader: IntoAsyncRead<'static>,
    /// A single buffer for the whole body: new buffers would pile up faster than the runtime collects them.
    buffer: Vec<u8>,
    timeout: Duration,
    is_empty: bool,
}

impl Body {
    /// `timeout` bounds the wait for each chunk.
    pub(super) fn new(response: &Response, timeout: Duration) -> Result<Self, NoAnswer> {
        let ResponseBody::Stream(stream) = response.body() else { return Err(NoAnswer) };
        let reader = ReadableStream::from_raw(stream.clone().unchecked_into())
            .try_into_async_read()
            .map_err(|_| NoAnswer)?;
        Ok(Self { reader, buffer: vec![0; CHUNK_BYTES], timeout, is_empty: true })
    }

    /// The next bytes. `None` at the end.
    pub(crate) async fn next_chunk(&mut self) -> Result<Option<&[u8]>, NoAnswer> {
        let read = within(self.timeout, self.reader.read(&mut self.buffer)).await;
        let Ok(Ok(length)) = read else { return Err(NoAnswer) };
        let chunk = &self.buffer[..length];
        self.is_empty &=
            chunk.iter().all(|byte| matches!(byte, b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
        Ok((length > 0).then_some(chunk))
    }

    /// Whether the bytes read so far hold no message.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }
}

/// Reads no further than the first message.
pub(super) async fn first_message(mut body: Body) -> Result<Option<Vec<u8>>, PageError> {
    let mut first = None;
    for_each_message(&mut body, &mut |message| {
        first.get_or_insert_with(|| message.to_vec());
        ControlFlow::Break(())
    })
    .await?;
    Ok(first)
}

/// Hands each message of a page to `sink`, until `sink` breaks.
pub(super) async fn for_each_message(
    body: &mut Body,
    sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), PageError> {
    let mut splitter = MessageSplitter::default();
    let mut flow = ControlFlow::Continue(());
    while let Some(chunk) = body.next_chunk().await? {
        splitter.feed(chunk, |message| flow = sink(message))?;
        if flow.is_break() {
            return Ok(());
        }
    }
    Ok(splitter.finish()?)
}

/// Why a page could not be read to its end.
pub(super) enum PageError {
    NoAnswer,
    Split(SplitError),
}

impl From<NoAnswer> for PageError {
    fn from(NoAnswer: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<SplitError> for PageError {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

impl From<PageError> for UpstreamResult {
    fn from(error: PageError) -> Self {
        match error {
            // The connection probably broke.
            PageError::NoAnswer | PageError::Split(SplitError::Truncated) => Self::Failed,
            PageError::Split(SplitError::Unexpected(_) | SplitError::TooLarge) => Self::Unreadable,
        }
    }
}
