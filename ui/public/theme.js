// Before anything is painted, so that a dark page does not begin white. A file and not an inline script: the page's
// policy (CSP) lets the files of this origin run.
;(function () {
  const root = document.documentElement
  const dark = matchMedia('(prefers-color-scheme: dark)')
  function apply() {
    let chosen = null
    try {
      chosen = localStorage.getItem('agentguard.theme')
    } catch {
      // Storage is off: the system's choice holds.
    }
    root.dataset.theme = chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light'
  }
  apply()
  dark.addEventListener('change', apply)
  addEventListener('storage', apply)
  addEventListener('agentguard:theme', apply)
})()
