//! Ends an answer before the upstream ends it.

use worker::js_sys::{Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::{Response, ResponseBody, Result, web_sys};

use crate::isolate::now_ms;

/// The longest time that a read of server-sent events stays open. The upstream ends it after about a minute (protocol
/// §5.8). But it may forget the readers of a stream that was deleted.
const LONGEST_MS: u64 = 70_000;

/// The same answer, which ends properly after [`LONGEST_MS`], or at `until_ms` (since 1970) if that is sooner.
///
/// The runtime itself may pass a body from one connection to another. Such a body outlives the request and its timers.
/// Therefore a pipe of the request stands between them. It moves the bytes without entering the Wasm module.
pub(super) fn ending_at(response: Response, until_ms: Option<u64>) -> Result<Response> {
    let left_ms =
        until_ms.map_or(LONGEST_MS, |end_ms| end_ms.saturating_sub(now_ms()).min(LONGEST_MS));
    let ResponseBody::Stream(body) = response.body() else { return Ok(response) };
    let options = Object::new();
    let signal = web_sys::AbortSignal::timeout_with_f64(left_ms as f64);
    Reflect::set(&options, &"signal".into(), &signal)?;
    Reflect::set(&options, &"preventAbort".into(), &true.into())?;
    let pipe = Pipe::new();
    let writable = pipe.writable();
    let piped = body.unchecked_ref::<Source>().pipe_to(&writable, &options)?;
    spawn_local(async move {
        // The pipe fails when its time is over, or when either side leaves. In the second case nothing is left to close.
        if JsFuture::from(piped).await.is_err() {
            let _ = JsFuture::from(writable.close()).await;
        }
    });
    Ok(Response::from_body(ResponseBody::Stream(pipe.readable()))?
        .with_status(response.status_code()))
}

#[wasm_bindgen]
extern "C" {
    /// The runtime's own pipe. It hands bytes on as they come.
    #[wasm_bindgen(js_name = IdentityTransformStream)]
    type Pipe;
    #[wasm_bindgen(constructor, js_class = "IdentityTransformStream")]
    fn new() -> Pipe;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &Pipe) -> web_sys::ReadableStream;
    #[wasm_bindgen(method, getter)]
    fn writable(this: &Pipe) -> web_sys::WritableStream;

    #[wasm_bindgen(js_name = ReadableStream)]
    type Source;
    #[wasm_bindgen(method, catch, js_name = pipeTo)]
    fn pipe_to(
        this: &Source,
        to: &web_sys::WritableStream,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
}
