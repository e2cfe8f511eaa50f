// Portkey's gateway 1.15.2 edits the headers of what `fetch` answered with, which Node forbids: its streams fail
// with "immutable". A Response that is built from the answer has headers that may be edited.
const { fetch } = globalThis
globalThis.fetch = async (...request) => {
  const answer = await fetch(...request)
  return new Response(answer.body, answer)
}
