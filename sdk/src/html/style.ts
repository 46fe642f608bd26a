/** Set by the program, so that the content security policy allows nothing but the program. */
export const STYLE = `
body { font: 14px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem; color: #1b1f24 }
header { border-radius: 8px; padding: 1rem 1.5rem; color: #fff }
header h1 { margin: 0; font-size: 1.6rem }
header.good { background: #11713b } header.bad { background: #b3171f } header.unsigned { background: #7a5200 }
header li { overflow-wrap: anywhere }
.key { margin: 1rem 0 } .key code { display: block; overflow-wrap: anywhere } .key input { width: 60% }
nav { display: flex; gap: .5rem; align-items: center; margin: 1rem 0 } nav input { flex: 1 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #d8dee4; overflow-wrap: anywhere }
tr.deny .verdict { color: #b3171f } tr.allow .verdict { color: #11713b } tr.pending .verdict { color: #7a5200 }
tr.bad { background: #ffe3e3 }
.mark { margin-left: .5rem; padding: 0 .4rem; border-radius: 4px; background: #e6e8eb } .mark.bad { background: #b3171f; color: #fff }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f8fa; padding: .5rem }
`
