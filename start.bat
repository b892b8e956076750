@echo off
rem The same as `make run`: ./venv, the locked packages, and the server on port 8000.
setlocal
cd /d "%~dp0"
where py >nul 2>nul && (set PYTHON=py -3) || (set PYTHON=python)
if exist venv\.installed goto run
%PYTHON% -c "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and 'asr-server needs Python 3.10 to 3.13')" || goto failed
if not exist venv\Scripts\python.exe %PYTHON% -m venv venv || goto failed
venv\Scripts\python -m pip install -q -r requirements.lock || goto failed
venv\Scripts\python -m pip install -q --no-deps -e . || goto failed
type nul > venv\.installed
:run
venv\Scripts\asr-server serve --model auto %*
exit /b %errorlevel%
:failed
echo Setup stopped; the lines above say why. Run start.bat again to go on.
exit /b 1
