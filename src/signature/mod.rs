//! The signatures of tokens. This is the Rust side of `check.ts`, which keeps the keys and lets the library jose do the
//! cryptography.

use worker::js_sys::{Error, Promise};
use worker::wasm_bindgen::prelude::{JsValue, wasm_bindgen};

#[wasm_bindgen(raw_module = "signature")]
extern "C" {
    /// The usable keys of a key set; the error says in words why there is none.
    #[wasm_bindgen(catch, js_name = usableKeys)]
    pub fn usable_keys(json: &str) -> Result<JsValue, Error>;

    /// Whether a token is signed by one of these keys, as `check.ts` says it.
    #[wasm_bindgen(js_name = checkSignature)]
    pub fn check(
        token: &str,
        algorithm: &str,
        key_id: Option<&str>,
        secret: Option<&str>,
        jwks: &JsValue,
        jwks_url: Option<&str>,
    ) -> Promise;
}
