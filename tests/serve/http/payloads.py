"""Texts that would run as script wherever they were taken for markup."""

from __future__ import annotations

_RUN = "window.ran=(window.ran||0)+1"
_TAGS = (
    "<script>{run}</script>",
    "<ScRiPt >{run}</ScRiPt >",
    '<script src="data:text/javascript,{run}"></script>',
    '<script type="module">{run}</script>',
    "<img src=x onerror={run}>",
    '<img src="x" onerror="{run}">',
    "<img/src=x/onerror={run}>",
    '<img src="http://203.0.113.9/p.png">',
    '<img srcset="x 1x" onerror="{run}">',
    "<image href=x onerror={run}>",
    '<svg onload="{run}">',
    "<svg><script>{run}</script></svg>",
    '<svg><animate onbegin="{run}" attributeName="x" dur="1s">',
    '<svg><a xlink:href="javascript:{run}"><text x="20" y="20">x</text></a>',
    '<math><mi//xlink:href="data:x,<script>{run}</script>">',
    '<iframe src="javascript:{run}"></iframe>',
    '<iframe srcdoc="<script>parent.{run}</script>"></iframe>',
    '<object data="javascript:{run}"></object>',
    '<embed src="javascript:{run}">',
    '<body onload="{run}">',
    '<video><source onerror="{run}"></video>',
    '<audio src=x onerror="{run}"></audio>',
    '<details open ontoggle="{run}">x</details>',
    '<input autofocus onfocus="{run}">',
    '<select autofocus onfocus="{run}"></select>',
    '<textarea autofocus onfocus="{run}"></textarea>',
    '<marquee onstart="{run}">x</marquee>',
    '<a href="javascript:{run}">click</a>',
    '<a href="data:text/html,<script>{run}</script>">click</a>',
    '<form action="javascript:{run}"><button>go</button></form>',
    '<button formaction="javascript:{run}" form="f">go</button>',
    '<style>@import "http://203.0.113.9/x.css";</style>',
    '<link rel="stylesheet" href="http://203.0.113.9/x.css">',
    '<link rel="import" href="data:text/html,<script>{run}</script>">',
    '<meta http-equiv="refresh" content="0;url=javascript:{run}">',
    '<base href="http://203.0.113.9/">',
    '<template><img src=x onerror="{run}"></template>',
    "[click](javascript:{run})",
    "![x](http://203.0.113.9/p.png)",
    "{{constructor.constructor('{run}')()}}",
)
_AROUND = ("{0}", '">{0}', "'>{0}<!--", "</textarea></title></script>{0}", "\u202e{0}\u2028")
PAYLOADS = tuple(around.replace("{0}", tag.replace("{run}", _RUN)) for tag in _TAGS for around in _AROUND)
