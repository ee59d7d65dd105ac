//! A promise that any native thread settles. It is settled exactly once: the operations behind it are always
//! told.

use crate::error::to_javascript;
use napi::bindgen_prelude::{Object, ToNapiValue};
use napi::{Env, JsDeferred};
use wire::Result;

type Resolve<T> = Box<dyn FnOnce(Env) -> napi::Result<T> + Send>;

pub struct Settle<T: ToNapiValue + 'static>(JsDeferred<T, Resolve<T>>);

/// What a native function returns to JavaScript, and what settles it.
pub fn promise<T: ToNapiValue + 'static>(env: &Env) -> napi::Result<(Settle<T>, Object<'_>)> {
    let (deferred, object) = env.create_deferred::<T, Resolve<T>>()?;
    Ok((Settle(deferred), object))
}

impl<T: ToNapiValue + 'static> Settle<T> {
    /// `convert` makes the JavaScript value, on the JavaScript thread.
    pub fn settle_with<V: Send + 'static>(
        self,
        result: Result<V>,
        convert: impl FnOnce(&Env, V) -> napi::Result<T> + Send + 'static,
    ) {
        self.0.resolve(Box::new(move |env| match result {
            Ok(value) => convert(&env, value),
            Err(error) => Err(to_javascript(&env, &error)),
        }));
    }
}

impl<T: ToNapiValue + Send + 'static> Settle<T> {
    pub fn settle(self, result: Result<T>) {
        self.settle_with(result, |_, value| Ok(value));
    }
}
