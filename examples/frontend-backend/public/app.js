document.querySelector("#go").addEventListener("click", async () => {
  const result = document.querySelector("#result");
  result.textContent = "…";
  const response = await fetch("/api/analyse", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: document.querySelector("#text").value }),
  });
  result.textContent = JSON.stringify(await response.json(), null, 2);
});
