//! Our errors as JavaScript errors: `code` is the name in the error table, `message` the detail. No text is
//! ever matched on.

use napi::bindgen_prelude::{JsObjectValue, Object};
use napi::{Env, JsValue};
use wire::{Code, Error};

/// For promises: on the JavaScript thread, with everything in place.
pub fn to_javascript(env: &Env, error: &Error) -> napi::Error {
    let make = || -> napi::Result<napi::Error> {
        let mut object: Object = env.create_error(napi::Error::from_reason(error.detail.clone()))?;
        object.set_named_property("code", error.code.name())?;
        Ok(napi::Error::from(object.to_unknown()))
    };
    make().unwrap_or_else(|failure| failure)
}

/// For calls that answer at once.
pub fn thrown(error: &Error) -> napi::Error<String> {
    napi::Error::new(error.code.name().into(), error.detail.clone())
}

pub fn invalid(detail: impl Into<String>) -> napi::Error<String> {
    thrown(&Error::new(Code::InvalidArgument, detail))
}

/// Failures of the binding itself while it converts values.
pub fn binding(failure: &napi::Error) -> napi::Error<String> {
    napi::Error::new(Code::Internal.name().into(), failure.reason.to_string())
}
