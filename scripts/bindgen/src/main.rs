//! `headwater-bindgen <file>.wasm <folder>`: writes the module and its JavaScript, for scripts/build.sh.

use std::env;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (wasm, folder) = arguments
        .next()
        .zip(arguments.next())
        .context("usage: headwater-bindgen <file>.wasm <folder>")?;
    Bindgen::new()
        .module(true)?
        .input_path(wasm)
        .out_name("index")
        .typescript(false)
        // The names are a tenth of the module. A panic's message says where it came from.
        .remove_name_section(true)
        // A panic ends the module. With these two, src/entry.js detects that around each call and restarts the module.
        .force_enable_abort_handler(true)
        .reset_state_function(true)
        .generate(folder)
}
