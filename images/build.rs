//! Compiles the protocol files of `proto/` without protoc.

const FILES: [&str; 6] = [
    "content.proto",
    "descriptor.proto",
    "images.proto",
    "leases.proto",
    "mount.proto",
    "snapshots.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
