//! The parameters of a call, however they come: in the query, as a form, as JSON, in parts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use axum::Form;
use axum::extract::{FromRequest, Multipart, Query, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;

use super::error::Refusal;
use crate::telegram::admin::new_file_name;
use crate::telegram::ids::ChatId;
use crate::telegram::store::Media;

/// The most bytes that a body without files may have.
const MAX_BODY: usize = 4 << 20;

/// The parameters of a call.
#[derive(Debug, Default)]
pub(super) struct Params {
    values: Map<String, Value>,
    files: HashMap<String, Upload>,
    /// The file that is to be sent, once it is known to the store.
    media: Option<Media>,
}

/// A file that came with a call. It lies in the store's folder and is removed, unless it is taken.
#[derive(Debug)]
pub(super) struct Upload {
    path: PathBuf,
    taken: bool,
    /// The name it lies there under.
    pub(super) stored: String,
    pub(super) name: Option<String>,
    pub(super) mime_type: Option<String>,
}

impl Upload {
    /// The file stays where it is.
    pub(super) fn take(&mut self) {
        self.taken = true;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.taken {
            // That it cannot be removed is no more than litter.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Params {
    /// Reads them; files go to `folder`.
    pub(super) async fn read(request: Request, folder: &Path) -> Result<Self, Refusal> {
        let mut params = Self::default();
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        params.add(query.map(|Query(pairs)| pairs).unwrap_or_default());
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/json") {
            let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
            let body = body.map_err(|_| Refusal::bad("can't read the request body"))?;
            if !body.is_empty() {
                let object: Map<String, Value> = serde_json::from_slice(&body)
                    .map_err(|_| Refusal::bad("can't parse request body JSON object"))?;
                params.values.extend(object);
            }
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            let Form(pairs) = form.map_err(|_| Refusal::bad("can't parse the form"))?;
            params.add(pairs);
        } else if kind.starts_with("multipart/form-data") {
            params.add_parts(request, folder).await?;
        }
        Ok(params)
    }

    fn add(&mut self, pairs: Vec<(String, String)>) {
        let pairs = pairs.into_iter();
        self.values
            .extend(pairs.map(|(name, value)| (name, Value::String(value))));
    }

    async fn add_parts(&mut self, request: Request, folder: &Path) -> Result<(), Refusal> {
        let broken = |_| Refusal::bad("can't parse the multipart body");
        let mut parts = Multipart::from_request(request, &())
            .await
            .map_err(|_| Refusal::bad("can't parse the multipart body"))?;
        while let Some(mut part) = parts.next_field().await.map_err(broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            let Some(file_name) = part.file_name().map(str::to_owned) else {
                let value = part.text().await.map_err(broken)?;
                self.values.insert(name, Value::String(value));
                continue;
            };
            let stored = new_file_name();
            let upload = Upload {
                path: folder.join(&stored),
                taken: false,
                stored,
                name: Some(file_name).filter(|name| !name.is_empty()),
                mime_type: part.content_type().map(str::to_owned),
            };
            let failed = |error| {
                tracing::error!(%error, "an upload cannot be kept");
                Refusal::INTERNAL
            };
            let mut file = tokio::fs::File::create_new(&upload.path)
                .await
                .map_err(failed)?;
            while let Some(chunk) = part.chunk().await.map_err(broken)? {
                file.write_all(&chunk).await.map_err(failed)?;
            }
            file.flush().await.map_err(failed)?;
            self.files.insert(name, upload);
        }
        Ok(())
    }

    /// A parameter as text; numbers are text too.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }

    /// A whole number; what is none counts as not given.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The number of a message; 0 is none's.
    pub(super) fn message_id(&self, name: &str) -> i32 {
        let id = self.integer(name).and_then(|id| i32::try_from(id).ok());
        id.unwrap_or(0)
    }

    /// The chat that the call is about, if it is named by its number.
    pub(super) fn chat_id(&self) -> Option<ChatId> {
        self.integer("chat_id").map(ChatId)
    }

    /// Whether something is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().to_lowercase();
        matches!(value.as_str(), "true" | "yes" | "1")
    }

    /// Whether a parameter is there at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.is_null())
    }

    /// An object or array, as it is or as JSON in a text.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let wrong = |_| {
            let what = name.replace('_', " ");
            Refusal::bad(format_args!("can't parse {what} JSON object"))
        };
        match self.values.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some).map_err(wrong),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(wrong),
        }
    }

    /// The uploaded file that is to be sent.
    pub(super) const fn media(&self) -> Option<&Media> {
        self.media.as_ref()
    }

    /// Says what the uploaded file became in the store.
    pub(super) fn set_media(&mut self, media: Media) {
        self.media = Some(media);
    }

    /// A file that came under this name, or under the one that `attach://` gives.
    pub(super) fn upload(&mut self, name: &str) -> Option<&mut Upload> {
        let told = self.text(name).unwrap_or_default().into_owned();
        let key = told.strip_prefix("attach://").unwrap_or(name).to_owned();
        self.files.get_mut(&key)
    }
}

impl From<Map<String, Value>> for Params {
    fn from(values: Map<String, Value>) -> Self {
        Self {
            values,
            ..Self::default()
        }
    }
}

/// A random number.
pub(super) fn random() -> u64 {
    let mut number = [0; 8];
    aws_lc_rs::rand::fill(&mut number).expect("the system has random numbers");
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn read(uri: &str, kind: &str, body: &str) -> Params {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let request = Request::builder()
            .method("POST")
            .uri(uri)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        Params::read(request, dir.path()).await.expect("parameters")
    }

    #[tokio::test]
    async fn parameters_come_in_many_ways() {
        let parts = "--x\r\ncontent-disposition: form-data; name=\"chat_id\"\r\n\r\n5\r\n\
                     --x\r\ncontent-disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nbytes\r\n--x--\r\n";
        for (uri, kind, body) in [
            ("/bot1/x?chat_id=5", "text/plain", ""),
            ("/bot1/x", "application/x-www-form-urlencoded", "chat_id=5"),
            ("/bot1/x", "application/json", "{\"chat_id\":5}"),
            (
                "/bot1/x",
                "application/json; charset=utf-8",
                "{\"chat_id\":\"5\"}",
            ),
            ("/bot1/x", "multipart/form-data; boundary=x", parts),
        ] {
            let mut params = read(uri, kind, body).await;
            assert_eq!(params.chat_id(), Some(ChatId(5)), "{kind}");
            assert_eq!(params.upload("a").is_some(), kind.starts_with("multipart"));
        }
    }

    #[tokio::test]
    async fn objects_may_be_text() {
        let body = "{\"a\":\"[1,2]\",\"b\":[1,2],\"c\":\"[1,\"}";
        let params = read("/", "application/json", body).await;
        for name in ["a", "b"] {
            assert_eq!(params.json::<Vec<i32>>(name), Ok(Some(vec![1, 2])));
        }
        assert_eq!(
            params.json::<Vec<i32>>("c"),
            Err(Refusal::bad("can't parse c JSON object"))
        );
    }
}
