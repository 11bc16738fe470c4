//! The keys that images have to be signed by, and what is said of those that are and are not.

use crate::exit::ToolError;
use crate::output::{Output, plural, printable};
use holdall::units::len64;
use holdall_images::cosign::{ImageSigned, PublicKey};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Reads the keys, in the order they were given.
pub fn keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, ToolError> {
    let keys: Result<Vec<_>, _> = paths.iter().map(|path| PublicKey::read(path)).collect();
    Ok(keys?)
}

/// The images that none of the keys signed.
pub fn unsigned(images: &[ImageSigned]) -> impl Iterator<Item = &ImageSigned> {
    images.iter().filter(|image| !image.verdict.is_signed())
}

/// An image that is not signed, with its digest and the reason.
pub fn refusal(image: &ImageSigned) -> String {
    let reason = image.verdict.reason().unwrap_or_default();
    format!(
        "{} ({}): {}",
        image.name,
        image.digest.to_digest(),
        printable(&reason)
    )
}

/// Prints each image, and how many are signed; nothing where that was not asked.
pub fn print(judged: Option<&[ImageSigned]>, output: &Output) -> Result<(), ToolError> {
    let Some(images) = judged else { return Ok(()) };
    for image in images {
        if image.verdict.is_signed() {
            let keys = image.verdict.signed_by.join(", ");
            output.say(format!("signed   {}: by {}", image.name, printable(&keys)))?;
        } else {
            output.line(format!("unsigned {}", refusal(image)))?;
        }
    }
    let signed = len64(images.len()) - len64(unsigned(images).count());
    output.say(format!(
        "{signed} of {} signed by the keys given",
        plural(len64(images.len()), "image")
    ))
}

/// The same for programs.
pub fn as_json(images: &[ImageSigned]) -> Value {
    let images = images.iter().map(|image| {
        json!({
            "name": image.name.to_string(),
            "digest": image.digest.to_digest(),
            "signed_by": image.verdict.signed_by,
            "reason": image.verdict.reason(),
        })
    });
    images.collect()
}

/// Adds it to a result for programs, where it was asked.
pub fn insert(judged: Option<&[ImageSigned]>, result: &mut Value) {
    if let (Some(images), Some(object)) = (judged, result.as_object_mut()) {
        object.insert("images_signed".to_owned(), as_json(images));
    }
}
