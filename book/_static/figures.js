// plotly.js takes a second to start, and ten figures take seconds to draw. So a page first shows its text; plotly.js is loaded
// when that is done, and a figure is drawn when it comes near the screen, or with all others before the page is printed.
const drawWhenSeen = (() => {
  const address = new URL("plotly.min.mjs", document.currentScript.src).href
  const waiting = new Map()
  let plotly
  const load = () => plotly ??= new Promise((resolve, reject) => {
    document.head.append(Object.assign(document.createElement("script"), {src: address, onload: resolve, onerror: reject}))
  })
  const draw = figure => {
    const drawn = waiting.get(figure)
    if (waiting.delete(figure)) drawn()
  }
  const near = new IntersectionObserver(
    entries => entries.filter(entry => entry.isIntersecting).forEach(({target}) => load().then(() => draw(target))),
    {rootMargin: "100% 0px"},
  )
  addEventListener("beforeprint", () => { if (window.Plotly) [...waiting.keys()].forEach(draw) })
  return (figure, drawn) => {
    if (!waiting.size) addEventListener("load", load)
    waiting.set(figure, drawn)
    near.observe(figure)
  }
})()
