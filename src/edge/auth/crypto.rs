//! Signature checks by the runtime's Web Crypto.

use headwater_core::auth::jwks::Jwk;
use headwater_core::auth::token::{Algorithm, Token};
use worker::js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use worker::wasm_bindgen_futures::JsFuture;

/// A `CryptoKey`. No request owns it: the isolate may keep it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    /// The key's name (`kid`).
    pub(super) id: Option<String>,
    key: JsValue,
}

impl Key {
    /// Imports a public key. Fails if it is invalid, such as a point that is not on its curve.
    pub(super) async fn public(jwk: &Jwk) -> Result<Self, JsValue> {
        let members: Vec<(&str, &str)> =
            jwk.members.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::import("jwk", &object(&members)?, jwk.algorithm, jwk.id.clone()).await
    }

    /// Imports `JWT_SECRET`.
    pub(super) async fn secret(secret: &str) -> Result<Self, JsValue> {
        Self::import("raw", &Uint8Array::from(secret.as_bytes()), Algorithm::Hs256, None).await
    }

    async fn import(
        format: &str,
        data: &JsValue,
        algorithm: Algorithm,
        id: Option<String>,
    ) -> Result<Self, JsValue> {
        let usages = Array::of1(&"verify".into());
        let key =
            JsFuture::from(import_key(format, data, &parameters(algorithm)?, false, &usages)?)
                .await?;
        Ok(Self { algorithm, id, key })
    }

    /// Whether this key signed the token.
    pub(super) async fn signed(&self, token: &Token<'_>) -> Result<bool, JsValue> {
        let (signature, signed) =
            (Uint8Array::from(&*token.signature), Uint8Array::from(token.signed.as_bytes()));
        let verified = verify(&parameters(self.algorithm)?, &self.key, &signature, &signed)?;
        Ok(JsFuture::from(verified).await?.is_truthy())
    }
}

fn parameters(algorithm: Algorithm) -> Result<JsValue, JsValue> {
    object(match algorithm {
        Algorithm::Hs256 => &[("name", "HMAC"), ("hash", "SHA-256")],
        Algorithm::Rs256 => &[("name", "RSASSA-PKCS1-v1_5"), ("hash", "SHA-256")],
        Algorithm::Es256 => &[("name", "ECDSA"), ("namedCurve", "P-256"), ("hash", "SHA-256")],
        Algorithm::EdDsa => &[("name", "Ed25519")],
    })
}

fn object(members: &[(&str, &str)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &(*name).into(), &(*value).into())?;
    }
    Ok(object.into())
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"], js_name = importKey)]
    fn import_key(
        format: &str,
        data: &JsValue,
        algorithm: &JsValue,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"])]
    fn verify(
        algorithm: &JsValue,
        key: &JsValue,
        signature: &Uint8Array,
        data: &Uint8Array,
    ) -> Result<Promise, JsValue>;
}
