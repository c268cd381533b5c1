//! `headwater-bindgen <what cargo compiled>.wasm <folder>`: the module and its JavaScript, for scripts/build.sh.

use std::env;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (wasm, folder) = arguments
        .next()
        .zip(arguments.next())
        .context("two arguments: a .wasm file and a folder")?;
    Bindgen::new()
        .module(true)?
        .input_path(wasm)
        .out_name("index")
        .typescript(false)
        // A tenth of the module; where a panic came from, its message says.
        .remove_name_section(true)
        // A panic ends the module. It is noticed around each call, and src/entry.js can start it anew.
        .force_enable_abort_handler(true)
        .reset_state_function(true)
        .generate(folder)
}
