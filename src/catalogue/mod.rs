//! The catalogue of a generation: written once, bottom up; read page by page under its root.

mod reader;
mod writer;

pub use reader::{CatalogueReader, Leaves};
pub use writer::{CatalogueWriter, WrittenCatalogue};
