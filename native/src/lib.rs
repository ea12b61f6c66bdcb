//! Kernels and solvers of Pare. Knows nothing of files, networks or methods.

#[napi_derive::napi]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_string()
}
