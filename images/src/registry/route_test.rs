use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(target: &str) -> Result<Request, Refusal> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Request::parse(path, query, Some("127.0.0.1:5577"))
}

fn refused(target: &str) -> (u16, Code) {
    let refusal = parse(target).unwrap_err();
    (refusal.status.as_u16(), refusal.code)
}

fn name(repository: &Candidates) -> &str {
    repository.first.as_str()
}

#[test]
fn each_endpoint_is_recognised() {
    assert_eq!(parse("/v2/").unwrap(), Request::Base);
    assert_eq!(parse("/v2").unwrap(), Request::Base);
    let Request::Manifest {
        repository,
        reference,
    } = parse("/v2/quay.io/a/b/manifests/v1.0").unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (name(&repository), reference),
        ("quay.io/a/b", Reference::Tag(Tag::parse("v1.0").unwrap()))
    );
    let target = format!("/v2/nginx/manifests/{DIGEST}");
    let Request::Manifest {
        repository,
        reference,
    } = parse(&target).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (name(&repository), reference),
        ("docker.io/library/nginx", Reference::Digest(Sha256::of(b"")))
    );
    let Request::Blob { repository, digest } = parse(&format!("/v2/a/b/blobs/{DIGEST}?ns=quay.io")).unwrap()
    else {
        panic!()
    };
    assert_eq!((name(&repository), digest), ("quay.io/a/b", Sha256::of(b"")));
    let Request::Tags { tags, .. } = parse("/v2/a/b/tags/list?n=5&last=x").unwrap() else {
        panic!()
    };
    assert_eq!(
        (tags.path.as_str(), tags.page, tags.last),
        ("a/b", 5, Some(Tag::parse("x").unwrap()))
    );
    let target = format!("/v2/a/b/referrers/{DIGEST}?artifactType=application%2Fspdx%2Bjson");
    let Request::Referrers { referrers, .. } = parse(&target).unwrap() else {
        panic!()
    };
    assert_eq!(referrers.artifact_type.as_deref(), Some("application/spdx+json"));
}

#[test]
fn names_may_hold_the_words_of_endpoints() {
    let Request::Manifest { repository, .. } = parse("/v2/quay.io/manifests/blobs/manifests/tags").unwrap()
    else {
        panic!()
    };
    assert_eq!(name(&repository), "quay.io/manifests/blobs");
    let Request::Tags { tags, .. } = parse("/v2/tags/list/tags/list").unwrap() else {
        panic!()
    };
    assert_eq!(tags.path, "tags/list");
}

#[test]
fn an_encoded_colon_is_a_colon() {
    let target = format!("/v2/localhost%3A5000/a/blobs/{}", DIGEST.replace(':', "%3A"));
    let Request::Blob { repository, .. } = parse(&target).unwrap() else {
        panic!()
    };
    assert_eq!(name(&repository), "localhost:5000/a");
}

#[test]
fn the_catalogue_goes_on_after_a_name_of_the_same_kind() {
    let Request::Catalogue(page) = parse("/v2/_catalog?last=quay.io/a/b").unwrap() else {
        panic!()
    };
    assert_eq!(
        (page.page, page.last),
        (1000, Some(Repository::parse("quay.io/a/b").unwrap()))
    );
    let Request::Catalogue(page) = parse("/v2/_catalog?ns=quay.io&last=a/b&n=2000").unwrap() else {
        panic!()
    };
    assert_eq!(
        (page.page, page.last),
        (1000, Some(Repository::parse("quay.io/a/b").unwrap()))
    );
    assert_eq!(refused("/v2/_catalog?last=a/b"), (400, Code::NameInvalid));
}

#[test]
fn hostile_paths_are_refused() {
    for target in [
        "/v2/a%2fb/manifests/x",
        "/v2/a/../b/manifests/x",
        "/v2/a/%2e%2e/b/manifests/x",
        "/v2/a//b/manifests/x",
        "/v2//manifests/x",
        "/v2/A/manifests/x",
        "/v2/a%00/manifests/x",
        "/v2/%ff/manifests/x",
        "/v2/a%252fb/manifests/x",
    ] {
        assert_eq!(refused(target), (400, Code::NameInvalid), "{target}");
    }
}

#[test]
fn other_paths_are_404() {
    for target in [
        "/",
        "",
        "/v1/",
        "/v2/a",
        "/v2/manifests/x",
        "/v2/tags/list",
        "/v2/a/blobs/uploads/",
        "/v2/_catalog/",
    ] {
        assert_eq!(refused(target), (404, Code::NotFound), "{target}");
    }
}

#[test]
fn a_digest_that_is_not_sha256_is_digest_invalid() {
    for text in ["sha256:00", "sha512:00", "sha256:..", &DIGEST.to_uppercase()] {
        assert_eq!(
            refused(&format!("/v2/a/blobs/{text}")),
            (400, Code::DigestInvalid),
            "{text}"
        );
        assert_eq!(
            refused(&format!("/v2/a/referrers/{text}")),
            (400, Code::DigestInvalid),
            "{text}"
        );
        assert_eq!(
            refused(&format!("/v2/a/manifests/{text}")),
            (400, Code::DigestInvalid),
            "{text}"
        );
    }
}

#[test]
fn what_can_be_no_tag_is_an_unknown_manifest() {
    assert_eq!(refused("/v2/a/manifests/.INVALID"), (404, Code::ManifestUnknown));
    assert_eq!(refused("/v2/a/tags/list?last=.x"), (400, Code::TagInvalid));
}
