//! `tags/list` and `_catalog`, in pages.

use crate::registry::place::Mirrored;
use crate::registry::query::{MAX_PAGE, next_link};
use crate::registry::respond::{self, Refusal};
use crate::registry::route::{CataloguePage, TagsPage};
use crate::registry::stream::Body;
use holdall::name::{Reference, Repository};
use holdall::reader::Disk;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use std::collections::BinaryHeap;

/// A tag in the order that the specification asks for: case-insensitive; what differs only in case,
/// by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    folded: String,
    tag: String,
}

impl Listed {
    fn new(tag: &str) -> Self {
        Self {
            folded: tag.to_ascii_lowercase(),
            tag: tag.to_owned(),
        }
    }
}

/// The tags of a repository that the disk has.
pub fn tags(disk: &Disk, repository: &Repository, asked: &TagsPage) -> Result<Response<Body>, Refusal> {
    let all = disk
        .images(Some(repository), None)
        .map_while(|image| match image {
            Ok(image) => match image.name.reference {
                Reference::Tag(tag) => Some(Ok(Listed::new(tag.as_str()))),
                // Digests come after the tags.
                Reference::Digest(_) => None,
            },
            Err(err) => Some(Err(err)),
        });
    let after = asked.last.as_ref().map(|tag| Listed::new(tag.as_str()));
    let (names, more) = first_of(all, after.as_ref(), asked.page)?;
    let text = serde_json::json!({ "name": asked.path, "tags": names }).to_string();
    let path = format!("/v2/{}/tags/list", asked.path);
    let host = asked.mirrored.as_ref().map(Mirrored::as_str);
    listed(text, &path, host, asked.page, names.last().filter(|_| more))
}

/// The first `page` of `all` after `after`, and whether there are more. The disk's order is that of
/// the bytes, so all are looked at; memory is bounded by the page.
fn first_of(
    all: impl Iterator<Item = holdall::Result<Listed>>,
    after: Option<&Listed>,
    page: usize,
) -> Result<(Vec<String>, bool), Refusal> {
    let mut least = BinaryHeap::with_capacity(page.min(MAX_PAGE) + 1);
    let mut more = false;
    if page > 0 {
        for tag in all {
            let tag = tag?;
            if after.is_some_and(|after| tag <= *after) {
                continue;
            }
            least.push(tag);
            if least.len() > page {
                least.pop();
                more = true;
            }
        }
    }
    Ok((
        least
            .into_sorted_vec()
            .into_iter()
            .map(|listed| listed.tag)
            .collect(),
        more,
    ))
}

/// The repositories of the disk, by their full names; of one registry, by their paths.
pub fn catalogue(disk: &Disk, asked: &CataloguePage) -> Result<Response<Body>, Refusal> {
    let mut names = Vec::new();
    let mut more = false;
    let host = asked.mirrored.as_ref().map(Mirrored::as_str);
    let mut after = asked.last.clone();
    if let (Some(host), None) = (host, &after) {
        // No path is less than `0`, so the registry's own begin there: no need to walk all others.
        let least = Repository::parse(&format!("{host}/0"))?;
        if asked.page > 0 && super::is_known(disk, &least)? {
            names.push(least.path().to_owned());
        }
        after = Some(least);
    }
    if asked.page > 0 {
        for repository in disk.repositories(after.as_ref()) {
            let repository = repository?;
            if host.is_some_and(|host| repository.registry() != host) {
                break;
            }
            if names.len() == asked.page {
                more = true;
                break;
            }
            names.push(
                if host.is_some() {
                    repository.path()
                } else {
                    repository.as_str()
                }
                .to_owned(),
            );
        }
    }
    let text = serde_json::json!({ "repositories": names }).to_string();
    listed(
        text,
        "/v2/_catalog",
        host,
        asked.page,
        names.last().filter(|_| more),
    )
}

/// A list, with the link to its next page where there is more after `last`.
fn listed(
    text: String,
    path: &str,
    host: Option<&str>,
    page: usize,
    last: Option<&String>,
) -> Result<Response<Body>, Refusal> {
    let mut response = respond::json(StatusCode::OK, "application/json", text.into());
    if let Some(last) = last {
        let page = page.to_string();
        let mut pairs = vec![("n", page.as_str()), ("last", last.as_str())];
        pairs.extend(host.map(|host| ("ns", host)));
        let link = next_link(path, &pairs);
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tags: &[&str], after: Option<&str>, page: usize) -> (Vec<String>, bool) {
        let all = tags.iter().map(|tag| Ok(Listed::new(tag)));
        first_of(all, after.map(Listed::new).as_ref(), page).unwrap()
    }

    #[test]
    fn tags_are_in_case_insensitive_order() {
        assert_eq!(
            page(&["B", "a", "b", "A", "c", "1"], None, 10).0,
            ["1", "A", "a", "B", "b", "c"]
        );
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let tags = ["B", "a", "b", "A", "c", "1"];
        let mut joined = Vec::new();
        loop {
            let (names, more) = page(&tags, joined.last().map(String::as_str), 2);
            assert_eq!(names.len(), 2);
            joined.extend(names);
            if !more {
                break;
            }
        }
        assert_eq!(joined, ["1", "A", "a", "B", "b", "c"]);
    }

    #[test]
    fn n_0_is_an_empty_list_without_a_link() {
        assert_eq!(page(&["a", "b"], None, 0), (vec![], false));
    }

    #[test]
    fn last_need_not_exist() {
        assert_eq!(page(&["a", "c", "d"], Some("b"), 1), (vec!["c".to_owned()], true));
        assert_eq!(page(&["a", "c", "d"], Some("z"), 1), (vec![], false));
    }

    #[test]
    fn damage_among_the_tags_is_not_skipped() {
        let all = [Ok(Listed::new("a")), Err(holdall::Error::missing("catalogue"))].into_iter();
        assert_eq!(
            first_of(all, None, 10).unwrap_err().status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
}
