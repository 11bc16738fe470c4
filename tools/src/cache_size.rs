//! Lengths as people write them on a command line: `67108864`, `64M`, `64MiB`.

/// Parses a length; K, M and G are powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("not a length: {text:?}; write 64M, for example"))?;
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(format!("not a unit: {unit:?}; there are K, M and G")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text}: too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes));
        }
        for bad in ["", "M", "-1", "1.5G", "64T", "99999999999G"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
