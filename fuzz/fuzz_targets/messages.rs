//! `MessageSplitter` against itself, fed in other chunks, and against serde_json.
//!
//! The input is a number (0 to 15) and that many lengths, a byte each, then the body; the lengths
//! are those of the first chunks, and the last chunk is the rest.

#![no_main]

use headwater_core::messages::SplitError;
use headwater_fuzz::{elements, split};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (lengths, body) = rest.split_at(rest.len().min((count % 16) as usize));

    comes_out_whole(body, lengths);
    // As text it is part of an array for certain, whatever it holds.
    let text = Value::from(String::from_utf8_lossy(body)).to_string();
    comes_out_whole(format!("[{text} , {{{text}:[{text},1]}}]").as_bytes(), lengths);
});

fn comes_out_whole(body: &[u8], lengths: &[u8]) {
    let whole = split([body]);
    assert_eq!(split(chunks(body, lengths)), whole, "in chunks");
    assert_eq!(split(body.chunks(1)), whole, "byte by byte");

    let (messages, end) = whole;
    match elements(body) {
        Some(elements) => {
            assert_eq!((messages, end), (elements, Ok(())));
            cut_short(body, lengths);
        }
        // Nothing but the elements themselves can be wrong with a body that it takes.
        None if end.is_ok() => {
            assert!(
                !messages.iter().all(|message| is_json(message)),
                "an array to the splitter only"
            )
        }
        None => {}
    }
}

fn chunks<'a>(body: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = body;
    let mut chunks = Vec::new();
    for length in lengths {
        let (chunk, behind) = rest.split_at(rest.len().min(*length as usize));
        chunks.push(chunk);
        rest = behind;
    }
    chunks.push(rest);
    chunks
}

/// A valid body that ends early is never taken for whole, wherever it ends.
fn cut_short(body: &[u8], lengths: &[u8]) {
    let mut at = 0;
    for length in lengths {
        at += *length as usize;
        if at < body.trim_ascii_end().len() {
            assert_eq!(split([&body[..at]]).1, Err(SplitError::Truncated));
        }
    }
}

fn is_json(message: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(message).is_ok()
}
