//! Answers that end before the upstream ends them.

use worker::js_sys::{Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::{Date, Response, ResponseBody, Result, web_sys};

/// The upstream ends a live read after about a minute (protocol §5.8); what is longer than that, by far, is left to it.
const SOON_MS: u64 = 5 * 60_000;

/// The same answer, ended in good order at a time in milliseconds since 1970, if that is soon.
///
/// A body that the runtime passes from one connection to another by itself outlives the request, and its timers with
/// it. So here a pipe of the request is between them, which still moves the bytes without this module.
pub fn ending_at(response: Response, until: u64) -> Result<Response> {
    let left = until.saturating_sub(Date::now().as_millis());
    let ResponseBody::Stream(body) = response.body() else { return Ok(response) };
    if left > SOON_MS {
        return Ok(response);
    }
    let options = Object::new();
    Reflect::set(&options, &"signal".into(), &web_sys::AbortSignal::timeout_with_f64(left as f64))?;
    Reflect::set(&options, &"preventAbort".into(), &true.into())?;
    let pipe = Pipe::new();
    let writable = pipe.writable();
    let piped = body.unchecked_ref::<Source>().pipe_to(&writable, &options)?;
    spawn_local(async move {
        // It fails when its time is over, or when either side leaves; then there is nothing left to close.
        if JsFuture::from(piped).await.is_err() {
            let _ = JsFuture::from(writable.close()).await;
        }
    });
    Ok(Response::from_body(ResponseBody::Stream(pipe.readable()))?
        .with_status(response.status_code()))
}

#[wasm_bindgen]
extern "C" {
    /// The runtime's own pipe, which hands bytes on as they come.
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
