//! The bodies of the fuzz targets over what is kept for them in `tests/fuzz/corpus`: seeds of ours, and every input that once
//! failed.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::Path;

#[test]
fn every_input_that_is_kept_holds() {
    let mut failed = Vec::new();
    for (name, body) in bodies::ALL {
        let kept = Path::new("tests/fuzz/corpus").join(name);
        let mut inputs: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "nothing is kept for {name}");
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            if std::panic::catch_unwind(|| body(&bytes)).is_err() {
                failed.push(input.display().to_string());
            }
        }
    }
    assert_eq!(failed, [""; 0], "what each said stands above");
}
