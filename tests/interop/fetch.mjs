// One request by Node's own fetch, as an app would send it: prints status and body as one line of JSON.

const response = await fetch(process.argv[2], { method: 'POST', body: 'hello from fetch' });
console.log(JSON.stringify({ status: response.status, body: await response.json() }));
