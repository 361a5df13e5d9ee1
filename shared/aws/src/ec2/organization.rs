//! The accounts of an organization, from the JSON API of AWS Organizations
//! (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html>).

use serde::Deserialize;
use serde_json::json;

use super::{Target, answer};
use crate::api::{ApiClient, ApiError, ORGANIZATIONS, Retries, STS};

/// Maximum accounts of an organization. A larger one is refused.
const MAX_ACCOUNTS: usize = 20_000;
/// Maximum pages. AWS may return empty pages before the last one.
const MAX_PAGES: usize = 10_000;
/// Maximum accounts of a page.
const PAGE_ACCOUNTS: u32 = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    accounts: Vec<Account>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Account {
    id: String,
    arn: String,
    state: Option<String>,
    /// AWS retires it in favour of `State` on 2026-09-09.
    status: Option<String>,
}

impl Target {
    /// Returns a target for each active account of the organization to which these credentials belong: the role of this name in
    /// each other account, and the credentials themselves in their own.
    ///
    /// # Errors
    /// If AWS refuses the list, or returns another form than documented.
    pub async fn of_organization(&self, role_name: &str, retries: Retries) -> Result<Vec<Self>, ApiError> {
        let mut client = self.client(retries).await?;
        let action = "GetCallerIdentity";
        let xml = client.call(STS, action).await?;
        let own = answer::account(&xml).map_err(|why| ApiError::Response { action, why })?;
        let accounts = accounts(&mut client).await?;
        let target = |account: Account| {
            // arn:aws:organizations::111111111111:account/o-exampleorgid/555555555555
            let partition = account.arn.split(':').nth(1).unwrap_or("aws");
            let role = format!("arn:{partition}:iam::{}:role/{role_name}", account.id);
            Self { role_arn: (account.id != own).then_some(role), ..self.clone() }
        };
        Ok(accounts.into_iter().map(target).collect())
    }
}

/// Returns the active accounts, sorted by id.
async fn accounts(client: &mut ApiClient) -> Result<Vec<Account>, ApiError> {
    let action = "ListAccounts";
    let failed = |why: String| ApiError::Response { action, why };
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut body = json!({ "MaxResults": PAGE_ACCOUNTS });
        if let Some(token) = &token {
            body["NextToken"] = token.clone().into();
        }
        let text = client.send(ORGANIZATIONS, action, &body.to_string()).await?;
        let page: Page = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        for account in page.accounts {
            let state = account.state.as_ref().or(account.status.as_ref());
            let state = state.ok_or_else(|| failed(format!("account {} has no State", account.id)))?;
            if state == "ACTIVE" {
                found.push(account);
            }
        }
        if found.len() > MAX_ACCOUNTS {
            return Err(failed(format!("more than {MAX_ACCOUNTS} accounts")));
        }
        // Only an absent token marks the end.
        if page.next_token.is_none() {
            found.sort_by(|one, other| one.id.cmp(&other.id));
            return Ok(found);
        }
        if page.next_token == token {
            return Err(failed("a page names itself as the next one".to_owned()));
        }
        token = page.next_token;
    }
    Err(failed(format!("more than {MAX_PAGES} pages")))
}
