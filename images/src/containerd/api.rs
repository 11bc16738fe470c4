//! containerd's gRPC protocol, generated from `images/proto`.

/// Types that several services share.
#[expect(missing_docs, reason = "generated")]
pub mod types {
    tonic::include_proto!("containerd.types");
}

/// The services, each in its version 1. The modules lie as the packages do, since generated code refers
/// from one to the other.
pub mod services {
    macro_rules! services {
        ($($(#[$doc:meta])* $name:ident = $package:literal),* $(,)?) => {$(
            $(#[$doc])*
            pub mod $name {
                #![expect(missing_docs, reason = "generated")]
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!($package);
                }
            }
        )*};
    }

    services! {
        /// Blobs by digest.
        content = "containerd.services.content.v1",
        /// Names of images.
        images = "containerd.services.images.v1",
        /// What keeps things from being collected.
        leases = "containerd.services.leases.v1",
        /// Snapshots: served by us, and called through containerd.
        snapshots = "containerd.services.snapshots.v1",
    }
}
