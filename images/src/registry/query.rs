//! Query strings: decoded once, each key read by name. Unknown keys are ignored, as clients add
//! their own.

use super::range::digits;
use super::respond::{Code, Refusal};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most names in one answer, whatever is asked for.
pub const MAX_PAGE: usize = 1000;

/// What stands for itself in a query's value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// The pairs of a query, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what follows the `?`.
    pub fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(key)?, decode(value)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The value of the first pair with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The value of `last`, None where it is empty: both mean "from the start".
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.get("last").filter(|last| !last.is_empty())
    }

    /// How many names are asked for, at most [`MAX_PAGE`], which is also what no `n` means.
    pub fn page(&self) -> Result<usize, Refusal> {
        let Some(n) = self.get("n") else {
            return Ok(MAX_PAGE);
        };
        let why = || Refusal::bad_request(Code::PaginationNumberInvalid, format!("n={n:?} is no number"));
        Ok(usize::try_from(digits(n).ok_or_else(why)?).map_or(MAX_PAGE, |n| n.min(MAX_PAGE)))
    }
}

fn decode(text: &str) -> Result<String, Refusal> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::bad_request(Code::QueryInvalid, "the query is not UTF-8")),
    }
}

/// The value of a `Link` header to the next page: `path` with these pairs.
#[must_use]
pub fn next_link(path: &str, pairs: &[(&str, &str)]) -> String {
    let query: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, ESCAPED)))
        .collect();
    format!("<{path}?{}>; rel=\"next\"", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n_above_1000_is_clamped_and_not_refused() {
        for (query, page) in [
            (None, 1000),
            (Some("n=0"), 0),
            (Some("last=a&n=10"), 10),
            (Some("n=1000"), 1000),
            (Some("n=1001"), 1000),
            (Some("n=99999999999999999999999999"), 1000),
        ] {
            assert_eq!(Query::parse(query).unwrap().page().unwrap(), page, "{query:?}");
        }
    }

    #[test]
    fn n_that_is_no_number_is_400() {
        for query in ["n=", "n", "n=-1", "n=1.5", "n=x", "n=%31x", "n=+1"] {
            let refusal = Query::parse(Some(query)).unwrap().page().unwrap_err();
            assert_eq!(
                (refusal.status.as_u16(), refusal.code),
                (400, Code::PaginationNumberInvalid),
                "{query}"
            );
        }
    }

    #[test]
    fn a_link_is_read_back_as_it_was_written() {
        let link = next_link("/v2/a/tags/list", &[("last", "a&b=\"> é"), ("n", "5")]);
        let query = link
            .strip_prefix("</v2/a/tags/list?")
            .unwrap()
            .strip_suffix(">; rel=\"next\"")
            .unwrap();
        let query = Query::parse(Some(query)).unwrap();
        assert_eq!((query.last(), query.page().unwrap()), (Some("a&b=\"> é"), 5));
    }

    #[test]
    fn a_query_that_is_not_utf8_is_400() {
        assert_eq!(
            Query::parse(Some("last=%ff")).unwrap_err().code,
            Code::QueryInvalid
        );
    }
}
