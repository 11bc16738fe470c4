//! A request to the registry: the first line is path and query, the second a Range.
#![no_main]

use holdall::generation::{Labels, init};
use holdall::medium::MemoryMedium;
use holdall::monitor::Silent;
use holdall::reader::{Disk, OpenOptions};
use holdall_images::registry::{Registry, RegistryOptions};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static RUNTIME: LazyLock<Option<(tokio::runtime::Runtime, Registry)>> = LazyLock::new(|| {
    let medium = MemoryMedium::new();
    init(
        &medium,
        &Labels {
            origin: "fuzz".to_owned(),
            series: "fuzz".to_owned(),
        },
        0,
    )
    .ok()?;
    let disk = Disk::open(Arc::new(medium), &OpenOptions::default()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    Some((
        runtime,
        Registry::new(disk, &RegistryOptions::default(), Arc::new(Silent)),
    ))
});

fuzz_target!(|text: &str| {
    let Some((runtime, registry)) = RUNTIME.as_ref() else {
        return;
    };
    let (path, range) = text.split_once('\n').unwrap_or((text, ""));
    let request = hyper::Request::builder()
        .uri(path)
        .header("host", "localhost")
        .header("range", range)
        .body(());
    if let Ok(request) = request {
        let _response = runtime.block_on(registry.answer(request));
    }
});
