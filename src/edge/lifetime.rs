//! Answers that end before the upstream ends them.

use worker::js_sys::{Object, Promise, Reflect};
use worker::wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Context, Date, Response, ResponseBody, Result, web_sys};

/// Beyond what timers take, and beyond what a connection lives.
const LONGEST_MS: u64 = 24 * 60 * 60_000;

/// The same answer, cut off at a time in milliseconds since 1970.
///
/// A body that the runtime passes from one connection to another by itself outlives the request, with its timers.
/// So there is a pipe of the request between them, which still moves the bytes without this module.
pub fn ending_at(response: Response, until: u64, context: &Context) -> Result<Response> {
    let left = until.saturating_sub(Date::now().as_millis());
    let ResponseBody::Stream(body) = response.body() else { return Ok(response) };
    if left > LONGEST_MS {
        return Ok(response);
    }
    let options = Object::new();
    Reflect::set(&options, &"signal".into(), &web_sys::AbortSignal::timeout_with_f64(left as f64))?;
    let pipe = Pipe::new();
    let piped = body.unchecked_ref::<Source>().pipe_to(&pipe.writable(), &options)?;
    context.wait_until(async {
        // It fails when its time is over, or when either side leaves.
        let _ = JsFuture::from(piped).await;
    });
    Ok(Response::from_body(ResponseBody::Stream(pipe.readable()))?.with_status(response.status_code()))
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
    fn writable(this: &Pipe) -> JsValue;

    #[wasm_bindgen(js_name = ReadableStream)]
    type Source;
    #[wasm_bindgen(method, catch, js_name = pipeTo)]
    fn pipe_to(this: &Source, to: &JsValue, options: &Object) -> std::result::Result<Promise, JsValue>;
}
