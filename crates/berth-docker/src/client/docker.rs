//! What `berth docker` asks beyond sessions: images, and containers as documents.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Client, ClientError, http1};

impl Client {
    /// `GET /info`.
    pub async fn info(&self) -> Result<Value, ClientError> {
        self.get("/info").await
    }

    /// `GET /version`.
    pub async fn version(&self) -> Result<Value, ClientError> {
        self.get("/version").await
    }

    /// Containers as documents, sidecars included; `filters` as in Docker's API.
    pub async fn containers(&self, all: bool, filters: &Value) -> Result<Vec<Value>, ClientError> {
        let filters = http1::encode(&filters.to_string());
        let all = u8::from(all);
        self.get(&format!("/containers/json?all={all}&filters={filters}"))
            .await
    }

    /// Makes a container; its id.
    pub async fn create(&self, name: Option<&str>, body: &Value) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let name = name.map_or_else(String::new, |name| format!("?name={}", http1::encode(name)));
        let path = format!("/containers/create{name}");
        let (method, created) = (Method::POST, StatusCode::CREATED);
        let Created { id } = http1::json(&self.socket, method, &path, Some(body), created).await?;
        Ok(id)
    }

    /// Starts a container; one that runs already is fine.
    pub async fn start(&self, container: &str) -> Result<(), ClientError> {
        let path = format!("/containers/{}/start", http1::encode(container));
        self.change(
            Method::POST,
            &path,
            &[StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED],
        )
        .await
    }

    /// Waits until a container does not run; its exit code.
    pub async fn wait(&self, container: &str) -> Result<i32, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Ended {
            status_code: i32,
        }
        let path = format!("/containers/{}/wait", http1::encode(container));
        let Ended { status_code } =
            http1::json(&self.socket, Method::POST, &path, None, StatusCode::OK).await?;
        Ok(status_code)
    }

    /// Sends a signal.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<(), ClientError> {
        let (container, signal) = (http1::encode(container), http1::encode(signal));
        let path = format!("/containers/{container}/kill?signal={signal}");
        self.change(Method::POST, &path, &[StatusCode::NO_CONTENT])
            .await
    }

    /// Deletes a container, with `force` also one that runs, and with `volumes` its unnamed volumes.
    pub async fn remove(
        &self,
        container: &str,
        force: bool,
        volumes: bool,
    ) -> Result<(), ClientError> {
        let container = http1::encode(container);
        let (force, volumes) = (u8::from(force), u8::from(volumes));
        let path = format!("/containers/{container}?force={force}&v={volumes}");
        self.change(Method::DELETE, &path, &[StatusCode::NO_CONTENT])
            .await
    }

    /// Images, each with all its names; `filters` as in Docker's API.
    pub async fn images(&self, filters: &Value) -> Result<Vec<Value>, ClientError> {
        let filters = http1::encode(&filters.to_string());
        self.get(&format!("/images/json?filters={filters}")).await
    }

    /// Docker's description of an image.
    pub async fn image(&self, name: &str) -> Result<Value, ClientError> {
        self.get(&format!("/images/{}/json", http1::encode(name)))
            .await
    }

    /// Succeeds if the image is there.
    pub async fn pull(&self, reference: &str) -> Result<(), ClientError> {
        let path = format!("/images/create?fromImage={}", http1::encode(reference));
        self.change(Method::POST, &path, &[StatusCode::OK]).await
    }

    /// Gives an image another name.
    pub async fn tag(&self, name: &str, new: &str) -> Result<(), ClientError> {
        let (name, new) = (http1::encode(name), http1::encode(new));
        let path = format!("/images/{name}/tag?repo={new}");
        self.change(Method::POST, &path, &[StatusCode::CREATED])
            .await
    }

    /// Removes a name, or by its id an image; what was done.
    pub async fn remove_image(&self, name: &str) -> Result<Vec<Value>, ClientError> {
        let path = format!("/images/{}", http1::encode(name));
        http1::json(&self.socket, Method::DELETE, &path, None, StatusCode::OK).await
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        accepted: &[StatusCode],
    ) -> Result<(), ClientError> {
        let response = http1::send(&self.socket, method, path, None).await?;
        http1::expect(response, accepted).await?;
        Ok(())
    }
}
