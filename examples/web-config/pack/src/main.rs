//! `pack INPUT.wasm OUT`: writes the JavaScript module, its types and the final WebAssembly to the
//! directory OUT.

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(input), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: pack INPUT.wasm OUT".into());
    };
    Bindgen::new().input_path(input).web(true)?.typescript(true).generate(out)?;
    Ok(())
}
