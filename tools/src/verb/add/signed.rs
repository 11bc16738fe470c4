//! `add --cosign-key`: nothing comes in that is not signed.

use super::Args;
use super::plan::{Planned, What};
use crate::exit::ToolError;
use crate::output::Output;
use crate::signatures;
use holdall_images::copy::Run;
use holdall_images::cosign::{ImageSigned, PublicKey};
use serde_json::json;

/// Judges every image that was chosen, in the order they come; none where no key was given.
///
/// # Errors
/// [`ToolError::Refused`] with all that are not signed, each with its reason.
pub fn check(
    args: &Args,
    sources: &[Planned<'_>],
    copy: &Run<'_>,
    keys: &[PublicKey],
    output: &Output,
) -> Result<Option<Vec<ImageSigned>>, ToolError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let mut judged = Vec::new();
    for Planned { spelled, what } in sources {
        let What::Images { source, chosen } = what else {
            continue;
        };
        for image in chosen {
            judged.extend(copy.judge(*source, image, keys).map_err(spelled.failed())?);
        }
    }
    let refused: Vec<String> = signatures::unsigned(&judged).map(signatures::refusal).collect();
    if refused.is_empty() {
        return Ok(Some(judged));
    }
    output.result(&json!({
        "refused": true,
        "dry_run": args.dry_run,
        "images_signed": signatures::as_json(&judged),
    }))?;
    Err(ToolError::Refused(format!(
        "nothing was added: {} of the images {} not signed by a key that was given\n  {}",
        refused.len(),
        if refused.len() == 1 { "is" } else { "are" },
        refused.join("\n  ")
    )))
}
