//! The driver's own `fsync` and `fdatasync` are to be found by the libraries it loads: see `tracing.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["fsync", "fdatasync"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={name}");
    }
}
