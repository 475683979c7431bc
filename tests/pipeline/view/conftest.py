"""One browser for the tests of all pages."""

from tests.support.browser import browser as browser
