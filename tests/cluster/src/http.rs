//! Just enough HTTP to read a node's pages.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A page is a few kilobytes from this machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// The status and body of a page; `None` if nobody answers.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = tokio::time::timeout(DEADLINE, fetch(address, path)).await.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The value of a metric, by its name and labels as a node's page writes them; `None` if it is not
/// there, or nobody answers.
pub async fn metric(address: SocketAddr, series: &str) -> Option<u64> {
    let (_, page) = get(address, "/metrics").await?;
    value_of(&page, series)
}

/// The value of a metric on a page of metrics.
pub(crate) fn value_of(page: &str, series: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

async fn fetch(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: node\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
